//! The executable in the images of engine tests. Compiled by `probe.rs`, alone.

use std::env;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::process;
use std::thread;
use std::time::Duration;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn ioctl(file: i32, request: u64, ...) -> i32;
    fn _exit(code: i32) -> !;
}

extern "C" fn end(_: i32) {
    unsafe { _exit(0) }
}

fn main() {
    let handler: extern "C" fn(i32) = end;
    for number in [2, 15] {
        unsafe { signal(number, handler as usize) };
    }
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["gateway", "lock"] => lock(),
        ["gateway", ..] | ["keep"] => forever(),
        ["exit", code] => process::exit(code.parse().unwrap()),
        ["print", out, err] => {
            println!("{out}");
            eprintln!("{err}");
        }
        ["talk", text] => {
            println!("{text}");
            forever();
        }
        ["echo"] => echo(),
        ["cat", path] => print!("{}", fs::read_to_string(path).unwrap()),
        ["env", name] => println!("{}", env::var(name).unwrap_or_else(|_| "-".to_owned())),
        ["owner", path] => {
            let found = fs::metadata(path).unwrap();
            println!("{}:{} {:o}", found.uid(), found.gid(), found.mode() & 0o7777);
        }
        ["serve", port, after] => serve(port, after.parse().unwrap()),
        ["check", port] => {
            if TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
                process::exit(1);
            }
        }
        ["size"] => size(),
        ["burn"] => loop {
            std::hint::spin_loop();
        },
        other => panic!("the probe does not know {other:?}"),
    }
}

/// Prints the size of its terminal once it has one.
fn size() {
    const TIOCGWINSZ: u64 = 0x5413;
    let mut size = [0_u16; 4];
    while size[0] == 0 {
        unsafe { ioctl(1, TIOCGWINSZ, size.as_mut_ptr()) };
        thread::sleep(Duration::from_millis(1));
    }
    println!("{}x{}", size[0], size[1]);
}

fn forever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Ends with its standard input.
fn lock() {
    let mut chunk = [0; 64];
    while std::io::stdin().read(&mut chunk).is_ok_and(|count| count > 0) {}
}

fn echo() {
    let mut chunk = [0; 1024];
    let (mut input, mut output) = (std::io::stdin(), std::io::stdout());
    while let Ok(count) = input.read(&mut chunk) {
        if count == 0 {
            break;
        }
        output.write_all(&chunk[..count]).unwrap();
        output.flush().unwrap();
    }
}

fn serve(port: &str, after: u64) {
    thread::sleep(Duration::from_millis(after));
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut chunk = [0; 1024];
        let _ = stream.read(&mut chunk);
        let body = env::var("GREETING").unwrap_or_default();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }
}
