//! Build scripts: C for the kernel's virtual machine, compiled by clang.

use std::{env, path::Path, process::Command};

/// Compiles `source`, a path ending in `.bpf.c` in the package, to an object in cargo's `OUT_DIR`.
pub fn compile(source: &str) {
    println!("cargo::rerun-if-changed={source}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let (Some(out), Some(name)) = (env::var_os("OUT_DIR"), Path::new(source).file_stem()) else {
        println!("cargo::error=this build script is run by cargo only");
        return;
    };
    let object = Path::new(&out).join(name).with_extension("bpf.o");
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        .args(["-c", source, "-o"])
        .arg(object)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => println!("cargo::error={clang} could not compile {source}: {status}"),
        Err(error) => println!(
            "cargo::error=cannot run {clang} ({error}), which compiles {source}: \
             install it (Debian: apt-get install clang), or name one in the variable CLANG"
        ),
    }
}
