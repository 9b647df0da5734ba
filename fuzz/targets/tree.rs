#![no_main]

#[path = "../entries.rs"]
mod entries;
#[path = "../folder.rs"]
mod folder;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::of("tree")(input, folder::of("tree")));
