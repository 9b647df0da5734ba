//! `shopctl`: see the library for everything.

fn main() -> std::process::ExitCode {
    shopctl::cli::main()
}
