//! The order service's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    shop_kit::main(order::ABOUT, order::start)
}
