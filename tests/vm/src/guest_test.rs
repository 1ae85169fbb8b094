// SPDX-License-Identifier: GPL-2.0-only
//! `NF_WASM_GUEST_TEST`: runs Wasm modules in the kernel.

use std::cell::Cell;

use nf_wasm_shared::abi::ioctl::{
    GuestTest, GUEST_TEST_GET, GUEST_TEST_INSTANTIATE, GUEST_TEST_INVOKE, GUEST_TEST_NAME_LEN,
    GUEST_TEST_READ, GUEST_TEST_REGISTER, GUEST_TEST_SET, NF_WASM_GUEST_TEST, NO_TRAP, TIER_INTERP,
    TIER_JIT,
};
use nf_wasm_shared::abi::trap::Trap;

use crate::device::{address, default_tier, Device, Refused};

/// The reason why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The guest trapped.
    Trapped(Trap),
    /// The kernel module refused the operation.
    Refused(Refused),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Failure::Refused(refused)
    }
}

/// A session of instances in the kernel.
#[derive(Debug)]
pub struct Session {
    device: Device,
    /// The number of calls, and of those in compiled code.
    calls: Cell<(u64, u64)>,
}

impl Session {
    /// Opens a session.
    ///
    /// # Panics
    ///
    /// If the device cannot be opened.
    pub fn open() -> Self {
        Self {
            device: Device::open(),
            calls: Cell::default(),
        }
    }

    /// The number of calls, and of those in compiled code.
    pub fn calls(&self) -> (u64, u64) {
        self.calls.get()
    }

    /// Makes an operation. Returns the request as the kernel filled it in.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn operation(&self, mut request: GuestTest) -> Result<GuestTest, Refused> {
        self.device
            .explained(NF_WASM_GUEST_TEST, &mut request, |it| &mut it.log)?;
        Ok(request)
    }

    fn call(&self, request: GuestTest) -> Result<GuestTest, Failure> {
        let answer = self.operation(request)?;
        match Trap::from_number(answer.trap) {
            Some(trap) => Err(Failure::Trapped(trap)),
            None => {
                assert_eq!(answer.trap, NO_TRAP, "an unknown trap number");
                Ok(answer)
            }
        }
    }

    /// Makes an instance. Returns its number.
    ///
    /// # Errors
    ///
    /// A refusal, or a trap of its segments or start function.
    pub fn instantiate(&self, wasm: &[u8]) -> Result<u32, Failure> {
        let answer = self.call(GuestTest {
            operation: GUEST_TEST_INSTANTIATE,
            module: address(wasm),
            module_len: wasm.len() as u32,
            ..GuestTest::new()
        })?;
        Ok(answer.instance)
    }

    /// Lets later instances import from this one.
    ///
    /// # Errors
    ///
    /// A refusal.
    pub fn register(&self, instance: u32, name: &str) -> Result<(), Refused> {
        self.operation(named(GUEST_TEST_REGISTER, instance, name))?;
        Ok(())
    }

    /// Calls an exported function. Returns its results.
    ///
    /// # Errors
    ///
    /// A refusal or a trap.
    pub fn invoke(
        &self,
        instance: u32,
        name: &str,
        arguments: &[u64],
    ) -> Result<Vec<u64>, Failure> {
        let mut request = named(GUEST_TEST_INVOKE, instance, name);
        request.values[..arguments.len()].copy_from_slice(arguments);
        request.value_count = arguments.len() as u32;
        if default_tier() != TIER_INTERP {
            request.tier = TIER_JIT;
        }
        let answer = self.call(request)?;
        let (all, compiled) = self.calls.get();
        let is_compiled = u64::from(answer.tier == TIER_JIT);
        self.calls.set((all + 1, compiled + is_compiled));
        Ok(answer.values[..answer.value_count as usize].to_vec())
    }

    /// Reads an exported global.
    ///
    /// # Errors
    ///
    /// A refusal.
    pub fn get(&self, instance: u32, name: &str) -> Result<u64, Refused> {
        Ok(self
            .operation(named(GUEST_TEST_GET, instance, name))?
            .values[0])
    }

    /// Writes an exported global.
    ///
    /// # Errors
    ///
    /// A refusal.
    pub fn set(&self, instance: u32, name: &str, value: u64) -> Result<(), Refused> {
        let mut request = named(GUEST_TEST_SET, instance, name);
        request.values[0] = value;
        self.operation(request)?;
        Ok(())
    }

    /// Reads bytes of an exported memory.
    ///
    /// # Errors
    ///
    /// A refusal.
    pub fn read(
        &self,
        instance: u32,
        name: &str,
        offset: u64,
        len: u32,
    ) -> Result<Vec<u8>, Refused> {
        let mut bytes = vec![0_u8; len as usize];
        self.operation(GuestTest {
            offset,
            data: bytes.as_mut_ptr().expose_provenance() as u64,
            data_len: len,
            ..named(GUEST_TEST_READ, instance, name)
        })?;
        Ok(bytes)
    }
}

/// An operation on an export of an instance, or on the name of an instance.
///
/// # Panics
///
/// If the name is longer than the field.
pub fn named(operation: u32, instance: u32, name: &str) -> GuestTest {
    let mut field = [0; GUEST_TEST_NAME_LEN];
    field[..name.len()].copy_from_slice(name.as_bytes());
    GuestTest {
        operation,
        instance,
        name: field,
        name_len: name.len() as u32,
        ..GuestTest::new()
    }
}
