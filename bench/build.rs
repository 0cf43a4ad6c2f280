//! Compiles the counting programs for the kernel's virtual machine.

#[path = "../driver/bpf/compile.rs"]
mod compile;

fn main() {
    compile::compile("bpf/count.bpf.c");
}
