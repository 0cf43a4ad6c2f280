//! Compiles the steering program for the kernel's virtual machine.

#[path = "bpf/compile.rs"]
mod compile;

fn main() {
    compile::compile("bpf/steer.bpf.c");
}
