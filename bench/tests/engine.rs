//! Connections that come and go leave the stack's memory as it was. In a process of its own, so that
//! nothing else changes its memory.

use std::process::Command;

/// Bytes for each connection while they are there, and when they are gone.
fn come_and_go(connections: &str) -> (f64, f64) {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("figures.json");
    let status = Command::new(env!("CARGO_BIN_EXE_pagewire-bench"))
        .args(["engine", "--only", "come and go", "--connections", connections, "--json"])
        .arg(&json)
        .status()
        .unwrap();
    assert!(status.success());
    let figures: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let value = |what: &str| {
        let name = format!("engine/come and go/{connections} connections/{what}");
        let figures = figures.as_array().unwrap();
        figures.iter().find(|figure| figure["name"] == name).unwrap()["value"].as_f64().unwrap()
    };
    (value("used"), value("left"))
}

#[test]
fn many_connections_leave_the_memory_as_it_was() {
    let (used, left) = come_and_go("60000");
    assert!(used > 500.0, "{used}");
    assert!(left < used / 10.0, "{left} of {used}");
}

#[test]
#[ignore = "long: a million connections"]
fn a_million_connections_leave_the_memory_as_it_was() {
    let (used, left) = come_and_go("1000000");
    assert!(used > 500.0 && used < 2_560.0, "{used}");
    assert!(left < used / 20.0, "{left} of {used}");
}
