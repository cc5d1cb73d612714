//! Gives the library its soname, by which programs that are linked with it ask for it.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcomputenetwork.so.1");
}
