//! Compiles the counting programs for the kernel's virtual machine.

use std::{env, path::PathBuf, process::Command};

const SOURCE: &str = "bpf/count.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let Some(out) = env::var_os("OUT_DIR") else {
        println!("cargo::error=this build script is run by cargo only");
        return;
    };
    let object = PathBuf::from(out).join("count.bpf.o");
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        .args(["-c", SOURCE, "-o"])
        .arg(object)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => println!("cargo::error={clang} could not compile {SOURCE}: {status}"),
        Err(error) => println!(
            "cargo::error=cannot run {clang} ({error}), which compiles {SOURCE}: install it \
             (Debian: apt-get install clang), or name one in the variable CLANG"
        ),
    }
}
