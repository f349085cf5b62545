//! The core flows as the original's own clients ask for them, below `/v0`.
//!
//! Invariant: bodies have exactly the fields that those clients send, and answers are read as they read them.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::check::Checks;
use super::world::{ADDRESS, Http};
use crate::bench::Bench;
use crate::cluster::READY_WITHIN;

/// Whether the nodes serve the original's wire format at all.
pub(super) async fn is_served(bench: &Bench) -> anyhow::Result<bool> {
    let url = bench.cluster.urls().first().cloned().context("there is no node")?;
    Ok(Http::new()?.get(&format!("{url}/v0/healthz")).await?.0 == 200)
}

/// Register, search, peers, lease, announce, delete.
pub(super) async fn flows(bench: &mut Bench, checks: &mut Checks) -> anyhow::Result<()> {
    let http = Http::new()?;
    bench.cluster.wait_leader(READY_WITHIN).await.context("nobody leads")?;
    let node = bench.cluster.urls().first().cloned().context("there is no node")?;
    let url = |path: &str| format!("{node}/v0{path}");
    let peer = |id: &str| json!({"id": id, "addr": ADDRESS, "lastSeen": "0001-01-01T00:00:00Z"});
    let file = |name: &str, version: u64| json!({"name": name, "size": 4, "hash": "7".repeat(64), "version": version});

    let (status, body) = http.get(&url("/healthz")).await?;
    checks.equal(("", "GET /v0/healthz"), "200 ok", format!("{status} {}", text(&body)));
    for id in ["p1", "p2"] {
        let files = if id == "p1" { vec![file("report.txt", 1)] } else { Vec::new() };
        let (status, body) = http.post(&url("/register"), &json!({"peer": peer(id), "files": files})).await?;
        let shape = format!("{status}, ok {}, tasks {}", body["ok"], list(&body["tasks"]));
        checks.equal(("§6.1.1", format!("POST /v0/register of {id}")), "200, ok true, tasks a list", shape);
    }
    let (status, body) = http.post(&url("/heartbeat"), &json!({"peerId": "p1"})).await?;
    checks.equal(("§4.2.1", "POST /v0/heartbeat"), "200, ok true", format!("{status}, ok {}", body["ok"]));
    let (_, body) = http.get(&url("/search?q=report")).await?;
    let hit = &body["matches"][0];
    let found = format!("{} by {}", text(&hit["file"]["name"]), text(&hit["peers"][0]["id"]));
    checks.equal(("§6.2.1", "GET /v0/search finds it"), "report.txt by p1", found);
    let (_, body) = http.get(&url("/peers?file=report.txt")).await?;
    let address = text(&body["peers"][0]["addr"]);
    checks.equal(("§6.2.2", "GET /v0/peers says where it is"), ADDRESS, address);
    let (status, _) = http.get(&url("/peers?file=unknown.txt")).await?;
    checks.equal(("§6.2.2", "and 404 for what nobody has"), 404, status);

    let lease = |id: &str| json!({"peerId": id, "fileName": "report.txt"});
    let mut granted = Vec::new();
    for id in ["p1", "p2", "p1"] {
        granted.push(http.post(&url("/lease"), &lease(id)).await?.1["granted"].to_string());
    }
    let claim = ("§5.2.1", "POST /v0/lease of p1, p2, and p1 again, which renews");
    checks.equal(claim, "granted true, false, true", format!("granted {}", granted.join(", ")));
    // The original's clients number versions by the time.
    let announce = |id: &str| json!({"peer": peer(id), "file": file("report.txt", 1_700_000_000_000_000_000)});
    let (status, _) = http.post(&url("/announce"), &announce("p2")).await?;
    checks.equal(("§5.2.1", "a higher version without the lease is refused"), 403, status);
    let (status, _) = http.post(&url("/announce"), &announce("p1")).await?;
    checks.equal(("§5.2.1", "and accepted with it"), 204, status);
    let (status, _) = http.post(&url("/delete"), &lease("p1")).await?;
    checks.equal(("§3.1.1", "POST /v0/delete of a holder"), 204, status);
    let mut body = lease("p1");
    body["surprise"] = json!(1);
    let (status, _) = http.post(&url("/lease"), &body).await?;
    checks.equal(("", "unknown fields are refused, as they were"), 400, status);
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?").trim()
}

fn list(value: &Value) -> &'static str {
    // A Go client reads both as an empty list.
    if value.is_array() || value.is_null() { "a list" } else { "no list" }
}
