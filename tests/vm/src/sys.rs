// SPDX-License-Identifier: GPL-2.0-only
//! System calls that no library wraps. All `unsafe` code of these tests is here.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// An ioctl of `/dev/nf_wasm` on a struct of the ABI.
///
/// Addresses in `argument` must be of live memory that is not borrowed during the call, or of no
/// memory of this process. [`crate::device`] ensures this.
pub fn ioctl<T>(device: BorrowedFd<'_>, command: u32, argument: &mut T) -> Result<(), Errno> {
    // SAFETY: The kernel reads and writes as many bytes as the struct's first field says, which is
    // at most its size, and the memory at its addresses.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), command.into(), argument) };
    Errno::result(result).map(drop)
}

/// An ioctl of `/dev/nf_wasm` on bytes whose size field may be larger than `bytes`: two pages of
/// zeros follow.
pub fn ioctl_bytes(device: BorrowedFd<'_>, command: u32, bytes: &mut [u8]) -> Result<(), Errno> {
    let mut copy = bytes.to_vec();
    copy.resize(bytes.len() + 8192, 0);
    // SAFETY: The kernel module refuses sizes beyond a page. Up to that, it reads the zeros.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), command.into(), copy.as_mut_ptr()) };
    bytes.copy_from_slice(&copy[..bytes.len()]);
    Errno::result(result).map(drop)
}

/// An ioctl on an address without memory.
pub fn ioctl_nowhere(device: BorrowedFd<'_>, command: u32, address: usize) -> Result<(), Errno> {
    assert!(
        address < 4096 || address > isize::MAX as usize,
        "the address may be memory of this process"
    );
    // SAFETY: No memory of this process is at the address.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), command.into(), address) };
    Errno::result(result).map(drop)
}

/// An ioctl of `/dev/nf_wasm` on an address that other threads may unmap meanwhile.
///
/// The address, and the addresses in the struct there, must be of an [`Area`] or of no memory of
/// this process.
pub fn ioctl_at(device: BorrowedFd<'_>, command: u32, address: u64) -> Result<(), Errno> {
    // SAFETY: Nothing borrows an area's memory, and the kernel checks whether it is mapped.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), command.into(), address) };
    Errno::result(result).map(drop)
}

/// Pages that only the kernel reads and writes, in calls with their address. An unmapped gap
/// follows, so that an access that begins in the area and is too long does not reach other memory.
#[derive(Debug)]
pub struct Area {
    address: usize,
    len: usize,
}

impl Area {
    /// Bytes of a page.
    pub const PAGE: usize = 4096;
    /// Bytes of the gap. A sequential write stops at its first byte.
    const GUARD: usize = 16 * Self::PAGE;

    /// `pages` pages of zeros.
    pub fn new(pages: usize) -> io::Result<Self> {
        let len = pages * Self::PAGE;
        // SAFETY: The kernel chooses an address where nothing is.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len + Self::GUARD,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = address.expose_provenance();
        let area = Self { address, len };
        for page in 0..pages {
            area.protect(page, true, true)?;
        }
        Ok(area)
    }

    /// The address of the first byte.
    pub fn address(&self) -> u64 {
        self.address as u64
    }

    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Always false.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets whether a page may be read and written.
    pub fn protect(&self, page: usize, read: bool, write: bool) -> io::Result<()> {
        let mut protection = libc::PROT_NONE;
        if read {
            protection |= libc::PROT_READ;
        }
        if write {
            protection |= libc::PROT_WRITE;
        }
        let page = self.address + (page * Self::PAGE) % self.len;
        // SAFETY: The page is the area's, which nothing in this process borrows.
        let result = unsafe {
            libc::mprotect(
                std::ptr::with_exposed_provenance_mut(page),
                Self::PAGE,
                protection,
            )
        };
        Errno::result(result)?;
        Ok(())
    }

    /// Discards a page's memory. The next access finds zeros.
    pub fn forget(&self, page: usize) -> io::Result<()> {
        let page = self.address + (page * Self::PAGE) % self.len;
        // SAFETY: The page is the area's, which nothing in this process borrows.
        let result = unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(page),
                Self::PAGE,
                libc::MADV_DONTNEED,
            )
        };
        Errno::result(result)?;
        Ok(())
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: The mapping is the area's, and nothing in this process borrows it.
        unsafe {
            libc::munmap(
                std::ptr::with_exposed_provenance_mut(self.address),
                self.len + Self::GUARD,
            );
        }
    }
}

/// Changes this thread, but not its process, to a user without capabilities.
pub fn become_nobody() -> io::Result<()> {
    const NOBODY: libc::uid_t = 65_534;
    // SAFETY: No memory is involved. The C library's wrapper would change all threads.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    Errno::result(result)?;
    Ok(())
}

/// `CAP_NET_ADMIN`, as a bit.
pub const CAP_NET_ADMIN: u32 = 1 << 12;

/// Drops all capabilities of this thread, but not of its process, except those in `kept`. Only
/// capabilities below 32 can be kept.
pub fn keep_capabilities(kept: u32) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    // Effective, permitted, inheritable; of the first 32, then of the others.
    let mut data = [kept, kept, 0, 0, 0, 0];
    // SAFETY: The header and the two sets of that version are there, and the kernel writes no more of them
    // than the header's version.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_mut_ptr()) };
    Errno::result(result)?;
    Ok(())
}

/// A packet socket bound to the device with index `ifindex`. It sends whole frames.
pub fn frame_socket(ifindex: u32) -> io::Result<OwnedFd> {
    // SAFETY: No memory is involved.
    let fd = unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            // Protocol 0: the socket receives nothing.
            0,
        )
    };
    Errno::result(fd)?;
    // SAFETY: The descriptor is new, and nothing else owns it.
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
