// SPDX-License-Identifier: GPL-2.0-only
//! System calls that no library wraps. All `unsafe` of the tests is here.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// An ioctl of `/dev/nf_wasm` on a struct of the ABI.
///
/// Addresses in `argument` must lead to memory that lives and that nobody borrows meanwhile, or to
/// no memory of this process: [`crate::device`] sees to that.
pub fn ioctl<T>(device: BorrowedFd<'_>, command: u32, argument: &mut T) -> Result<(), Errno> {
    // SAFETY: The kernel reads and writes as many bytes as the struct's first field says, which is
    // at most its size, and what its addresses lead to.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), command.into(), argument) };
    Errno::result(result).map(drop)
}

/// An ioctl of `/dev/nf_wasm` on bytes that may lie about their size by more than there is: behind
/// `bytes` follows a page of zeros.
pub fn ioctl_bytes(device: BorrowedFd<'_>, command: u32, bytes: &mut [u8]) -> Result<(), Errno> {
    let mut copy = bytes.to_vec();
    copy.resize(bytes.len() + 8192, 0);
    // SAFETY: The module refuses sizes beyond a page, and would meet our zeros until then.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), command.into(), copy.as_mut_ptr()) };
    bytes.copy_from_slice(&copy[..bytes.len()]);
    Errno::result(result).map(drop)
}

/// An ioctl on an address where nothing is.
pub fn ioctl_nowhere(device: BorrowedFd<'_>, command: u32, address: usize) -> Result<(), Errno> {
    assert!(
        address < 4096 || address > isize::MAX as usize,
        "that may be memory of ours"
    );
    // SAFETY: No memory of this process is at the address.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), command.into(), address) };
    Errno::result(result).map(drop)
}

/// Makes this thread, and not its process, a user without any capability.
pub fn become_nobody() -> io::Result<()> {
    const NOBODY: libc::uid_t = 65_534;
    // SAFETY: No memory is involved. The C library's wrapper would change all threads.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    Errno::result(result)?;
    Ok(())
}

/// A packet socket that is bound to the device with index `ifindex` and takes whole frames.
pub fn frame_socket(ifindex: u32) -> io::Result<OwnedFd> {
    // SAFETY: No memory is involved.
    let fd = unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            // Only for sending: no protocol, nothing is received.
            0,
        )
    };
    Errno::result(fd)?;
    // SAFETY: The descriptor is new and ours.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: All zero is a valid address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = ifindex as i32;
    // SAFETY: The address is valid for its size.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    Errno::result(result)?;
    Ok(socket)
}
