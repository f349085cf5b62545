//! Which node dials: a connection's near end belongs to a socket, the socket to a process, the process to a node.
//!
//! Invariant: no byte of the traffic is looked at; what belongs to no node is an outsider, and passes.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use raft_store::types::NodeId;

/// The nodes' processes as they are now; shared with whoever starts them.
#[derive(Debug, Clone, Default)]
pub struct Pids(Arc<Mutex<BTreeMap<NodeId, u32>>>);

impl Pids {
    /// A node's process was started.
    pub fn set(&self, node: NodeId, pid: u32) {
        self.0.lock().insert(node, pid);
    }

    fn all(&self) -> Vec<(NodeId, u32)> {
        self.0.lock().iter().map(|(node, pid)| (*node, *pid)).collect()
    }
}

/// Tells who dials.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    /// The nodes' processes.
    pub pids: Pids,
    /// Local ports of probes that stand for a node.
    posing: Arc<Mutex<HashMap<u16, NodeId>>>,
}

impl Owners {
    /// Of these processes.
    pub fn new(pids: Pids) -> Self {
        Self { pids, ..Self::default() }
    }

    /// Connections from this port count as `node`'s.
    pub fn pose(&self, port: u16, node: NodeId) {
        self.posing.lock().insert(port, node);
    }

    /// Connections from this port are an outsider's again.
    pub fn unpose(&self, port: u16) {
        self.posing.lock().remove(&port);
    }

    /// The node whose process holds the socket that is bound to `near` and connected to `far`.
    pub fn find(&self, near: SocketAddr, far: SocketAddr) -> Option<NodeId> {
        if let Some(node) = self.posing.lock().get(&near.port()) {
            return Some(*node);
        }
        let inode = socket_inode(&std::fs::read_to_string("/proc/net/tcp").ok()?, near.port(), far.port())?;
        let wanted = format!("socket:[{inode}]");
        let holds = |pid: u32| {
            let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let mut targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
            targets.any(|target| target.as_os_str() == wanted.as_str())
        };
        self.pids.all().into_iter().find(|(_, pid)| holds(*pid)).map(|(node, _)| node)
    }
}

/// The inode of the socket between these ports, in the text of `/proc/net/tcp`.
fn socket_inode(table: &str, near: u16, far: u16) -> Option<u64> {
    let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let found = port(fields.get(1)?)? == near && port(fields.get(2)?)? == far;
        // A socket without an inode belongs to nobody any more.
        found.then(|| fields.get(9)?.parse().ok()).flatten().filter(|inode| *inode != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_process_that_dials_is_found_and_others_are_outsiders() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let dialled = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (near, far) = (dialled.local_addr().expect("bound"), dialled.peer_addr().expect("connected"));
        let owners = Owners::default();
        assert_eq!(owners.find(near, far), None, "no node's process is known");
        owners.pids.set(1, 1);
        owners.pids.set(2, std::process::id());
        assert_eq!(owners.find(near, far), Some(2));
        owners.pids.set(2, u32::MAX);
        assert_eq!(owners.find(near, far), None);
        owners.pose(near.port(), 3);
        assert_eq!(owners.find(near, far), Some(3));
    }

    #[test]
    fn the_table_of_the_system_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1 0 100 0 0 10 0\n\
            1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0 20 4 30 10 -1\n";
        assert_eq!(socket_inode(table, 0xC350, 0x1F90), Some(42));
        assert_eq!(socket_inode(table, 0x1F90, 0xC350), None);
    }
}
