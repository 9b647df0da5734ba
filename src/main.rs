//! The program: everything is in the library.

fn main() -> std::process::ExitCode {
    shopctl::cli::process::main()
}
