//! Which node dials: a connection's near end belongs to a socket, the socket to a process, the process to a node.
//!
//! Invariant: no byte of the traffic is looked at; what belongs to no node is an outsider, and passes.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use raft_store::types::NodeId;
use tokio::sync::oneshot;

use super::diag::Diag;

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

/// Who made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This node.
    Node(NodeId),
    /// Somebody else.
    Outsider,
    /// Somebody who does not want it any more.
    Gone,
}

/// The ends of a connection, as its maker sees them.
type Ends = (SocketAddr, SocketAddr);

/// Finds out who dials. Questions that arrive during a scan are answered together: a scan takes as long for all of
/// them as for one, and slow answers make nodes dial again.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    pids: Pids,
    /// Local ports of probes that stand for a node.
    posing: Arc<Mutex<HashMap<u16, NodeId>>>,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<(Ends, oneshot::Sender<Owner>)>,
    scanning: bool,
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

    /// Who holds the socket that is bound to `near` and connected to `far`.
    pub async fn find(&self, near: SocketAddr, far: SocketAddr) -> Owner {
        if let Some(node) = self.posing.lock().get(&near.port()) {
            return Owner::Node(*node);
        }
        let (answer, answered) = oneshot::channel();
        let starts = {
            let mut queue = self.queue.lock();
            queue.waiting.push(((near, far), answer));
            !std::mem::replace(&mut queue.scanning, true)
        };
        if starts {
            let owners = self.clone();
            // Reads files of /proc: that blocks.
            tokio::task::spawn_blocking(move || owners.scan());
        }
        answered.await.unwrap_or(Owner::Gone)
    }

    fn scan(&self) {
        loop {
            let waiting = {
                let mut queue = self.queue.lock();
                if queue.waiting.is_empty() {
                    queue.scanning = false;
                    return;
                }
                std::mem::take(&mut queue.waiting)
            };
            let inodes = inodes(waiting.iter().map(|(ends, _)| *ends));
            let nodes = self.sockets();
            for ((near, far), answer) in waiting {
                let owner = match inodes.get(&(near.port(), far.port())) {
                    Some(inode) => nodes.get(inode).map_or(Owner::Outsider, |node| Owner::Node(*node)),
                    None => Owner::Gone,
                };
                // Whoever asked may be gone as well.
                let _ = answer.send(owner);
            }
        }
    }

    /// Every socket of every node's process.
    fn sockets(&self) -> HashMap<u64, NodeId> {
        let mut sockets = HashMap::new();
        for (node, pid) in self.pids.all() {
            let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
            let inode = |target: std::path::PathBuf| {
                target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
            };
            sockets.extend(targets.filter_map(inode).map(|inode| (inode, node)));
        }
        sockets
    }
}

/// The inodes of these connections' sockets at their makers' end, as far as they have one, by their ports.
fn inodes(wanted: impl Iterator<Item = Ends>) -> HashMap<(u16, u16), u64> {
    let ask = |mut diag: Diag| -> std::io::Result<_> {
        let mut inodes = HashMap::new();
        for ends in wanted {
            if let (SocketAddr::V4(near), SocketAddr::V4(far)) = ends
                && let Some(inode) = diag.inode(near, far)?
            {
                inodes.insert((near.port(), far.port()), inode);
            }
        }
        Ok(inodes)
    };
    // Slower, and everywhere.
    let read = || std::fs::read_to_string("/proc/net/tcp").map(|table| socket_inodes(&table)).unwrap_or_default();
    Diag::open().and_then(ask).unwrap_or_else(|_| read())
}

/// The inodes of sockets by their local and remote ports, in the text of `/proc/net/tcp`.
fn socket_inodes(table: &str) -> HashMap<(u16, u16), u64> {
    let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
    let socket = |line: &str| {
        let mut fields = line.split_whitespace();
        let ends = (port(fields.nth(1)?)?, port(fields.next()?)?);
        // A socket without an inode belongs to nobody anymore.
        let inode = fields.nth(6)?.parse().ok().filter(|inode| *inode != 0)?;
        Some((ends, inode))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn the_process_that_dials_is_found_and_others_are_outsiders() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let dialled = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (near, far) = (dialled.local_addr().expect("bound"), dialled.peer_addr().expect("connected"));
        let owners = Owners::default();
        assert_eq!(owners.find(near, far).await, Owner::Outsider, "no node's process is known");
        owners.pids.set(1, 1);
        owners.pids.set(2, std::process::id());
        assert_eq!(owners.find(near, far).await, Owner::Node(2));
        owners.pids.set(2, u32::MAX);
        assert_eq!(owners.find(near, far).await, Owner::Outsider);
        owners.pose(near.port(), 3);
        assert_eq!(owners.find(near, far).await, Owner::Node(3));
        owners.unpose(near.port());
        drop((dialled, listener));
        assert_eq!(owners.find(near, far).await, Owner::Gone);
    }

    #[test]
    fn the_table_of_the_system_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1 0 100 0 0 10 0\n\
            1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0 20 4 30 10 -1\n";
        let inodes = socket_inodes(table);
        assert_eq!(inodes.get(&(0xC350, 0x1F90)), Some(&42));
        assert_eq!(inodes.get(&(0x1F90, 0xC350)), None);
    }
}
