//! A client that a public generator makes from `openapi.json` works against a running node. Needs python3 with pip and
//! a package index; says so and does nothing where they are missing.

mod support;

use std::path::Path;
use std::process::Command;

use support::Cluster;

/// Exit code of the generator's script where this machine lacks something.
const SKIPPED: i32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn the_generated_python_client_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/clients");
    let directory = tempfile::tempdir().expect("a directory");
    let mut generate = Command::new(root.join("generate"));
    let generated = generate.arg("python").arg(directory.path()).output().expect("the script starts");
    let said = format!("{}{}", String::from_utf8_lossy(&generated.stdout), String::from_utf8_lossy(&generated.stderr));
    if generated.status.code() == Some(SKIPPED) {
        println!("{said}");
        return;
    }
    assert!(generated.status.success(), "{said}");

    let cluster = Cluster::start(1).await;
    let mut example = Command::new(directory.path().join("venv/bin/python"));
    example.env("PYTHONPATH", directory.path()).arg(root.join("example.py")).arg(cluster.nodes[0].url(""));
    let ran = example.output().expect("python starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(said.contains("leads 1 node(s); docs/report.pdf is held by python"), "{said}");
}
