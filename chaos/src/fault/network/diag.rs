//! One socket's inode, asked of the kernel by the socket's two ends.
//!
//! Invariant: takes the same short time however many sockets there are. `/proc/net/tcp` does not: with some thousand
//! connections that wait for their end it takes longer to read than a node waits for a connection.

use std::io::{self, Read, Write};
use std::net::SocketAddrV4;

use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

/// Message type and error type, from `linux/sock_diag.h` and `linux/netlink.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// Which sockets are asked for.
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
/// Length of the header, and of header and request.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
/// Where the inode is in an answer: header, four bytes of state, both ends, four counters.
const INODE: usize = HEADER + 4 + 48 + 16;

/// A conversation with the kernel; one question at a time.
#[derive(Debug)]
pub struct Diag(std::fs::File);

impl Diag {
    /// Opens it; fails where the kernel does not offer it.
    pub fn open() -> io::Result<Self> {
        let (family, kind, protocol) = (AddressFamily::NETLINK, SocketType::RAW, netlink::SOCK_DIAG);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol))?;
        Ok(Self(socket.into()))
    }

    /// The inode of the TCP socket that is bound to `near` and connected to `far`; none if nobody has it any more.
    pub fn inode(&mut self, near: SocketAddrV4, far: SocketAddrV4) -> io::Result<Option<u64>> {
        self.0.write_all(&request(near, far))?;
        let mut answer = [0; 1_024];
        let length = self.0.read(&mut answer)?;
        let answer = answer.get(..length).unwrap_or_default();
        match (number_16(answer, 4), number_32(answer, HEADER), number_32(answer, INODE)) {
            (Some(SOCK_DIAG_BY_FAMILY), _, Some(inode)) => Ok(Some(u64::from(inode)).filter(|inode| *inode != 0)),
            (Some(NLMSG_ERROR), Some(code), _) => match io::Error::from_raw_os_error((code as i32).wrapping_neg()) {
                error if error.kind() == io::ErrorKind::NotFound => Ok(None),
                error => Err(error),
            },
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn request(near: SocketAddrV4, far: SocketAddrV4) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST);
    bytes.extend((REQUEST as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and port: there is one question at a time.
    bytes.extend([0; 8]);
    bytes.extend([AF_INET, IPPROTO_TCP, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(near.port().to_be_bytes());
    bytes.extend(far.port().to_be_bytes());
    for end in [near, far] {
        bytes.extend(end.ip().octets());
        bytes.extend([0; 12]);
    }
    // Any interface, and no cookie.
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([u8::MAX; 8]);
    bytes
}

fn number_16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn number_32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        let SocketAddr::V4(address) = address else { panic!("not IPv4: {address}") };
        address
    }

    #[test]
    fn the_inode_is_that_of_the_descriptor_and_of_the_right_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let dialled = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (accepted, _) = listener.accept().expect("accepts");
        let (near, far) = (v4(dialled.local_addr().expect("bound")), v4(dialled.peer_addr().expect("connected")));
        let mut diag = Diag::open().expect("the kernel answers");
        for (stream, near, far) in [(&dialled, near, far), (&accepted, far, near)] {
            let link = std::fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).expect("a descriptor");
            let inode = diag.inode(near, far).expect("answers").expect("found");
            assert_eq!(link.display().to_string(), format!("socket:[{inode}]"));
        }
        drop((dialled, accepted, listener));
        assert_eq!(diag.inode(near, far).expect("answers"), None);
    }
}
