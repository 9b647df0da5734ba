//! The goods service's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    shop_kit::main(goods::ABOUT, goods::start)
}
