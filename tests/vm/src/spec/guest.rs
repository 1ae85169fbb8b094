// SPDX-License-Identifier: GPL-2.0-only
//! The interface between the suite and the engine.

use nf_wasm_engine::guest_test::{self as engine, Called};
use nf_wasm_engine::Refusal;
use nf_wasm_shared::abi::ioctl::GUEST_TEST_VALUES;
use nf_wasm_shared::abi::limits::INIT_FUEL;
use nix::errno::Errno;

use crate::device::Refused;
use crate::guest_test::{Failure, Session};

/// An engine that has instances.
pub trait Guest {
    /// Makes an instance. Returns its number.
    ///
    /// # Errors
    ///
    /// A refusal, or a trap of its segments or start function.
    fn instantiate(&mut self, wasm: &[u8]) -> Result<u32, Failure>;

    /// Lets later instances import from this one.
    ///
    /// # Errors
    ///
    /// A refusal.
    fn register(&mut self, instance: u32, name: &str) -> Result<(), Failure>;

    /// Calls an exported function. Returns its results.
    ///
    /// # Errors
    ///
    /// A refusal or a trap.
    fn invoke(&mut self, instance: u32, name: &str, arguments: &[u64])
        -> Result<Vec<u64>, Failure>;

    /// Reads an exported global.
    ///
    /// # Errors
    ///
    /// A refusal.
    fn get(&mut self, instance: u32, name: &str) -> Result<u64, Failure>;
}

/// The engine in the kernel.
impl Guest for Session {
    fn instantiate(&mut self, wasm: &[u8]) -> Result<u32, Failure> {
        Session::instantiate(self, wasm)
    }

    fn register(&mut self, instance: u32, name: &str) -> Result<(), Failure> {
        Ok(Session::register(self, instance, name)?)
    }

    fn invoke(
        &mut self,
        instance: u32,
        name: &str,
        arguments: &[u64],
    ) -> Result<Vec<u64>, Failure> {
        Session::invoke(self, instance, name, arguments)
    }

    fn get(&mut self, instance: u32, name: &str) -> Result<u64, Failure> {
        Ok(Session::get(self, instance, name)?)
    }
}

/// The engine in this process.
impl Guest for engine::Session {
    fn instantiate(&mut self, wasm: &[u8]) -> Result<u32, Failure> {
        result(self.instantiate(wasm, INIT_FUEL))
    }

    fn register(&mut self, instance: u32, name: &str) -> Result<(), Failure> {
        self.register(instance, name).map_err(refused)
    }

    fn invoke(
        &mut self,
        instance: u32,
        name: &str,
        arguments: &[u64],
    ) -> Result<Vec<u64>, Failure> {
        let mut values = values(arguments);
        let called = self.invoke(instance, name, &mut values, arguments.len(), INIT_FUEL);
        Ok(values[..result(called)? as usize].to_vec())
    }

    fn get(&mut self, instance: u32, name: &str) -> Result<u64, Failure> {
        engine::Session::get(self, instance, name).map_err(refused)
    }
}

/// The arguments of a call, with room for its results.
pub fn values(arguments: &[u64]) -> [u64; GUEST_TEST_VALUES] {
    let mut values = [0; GUEST_TEST_VALUES];
    values[..arguments.len()].copy_from_slice(arguments);
    values
}

fn result(called: Result<Called<u32>, Refusal>) -> Result<u32, Failure> {
    called.map_err(refused)?.result.map_err(Failure::Trapped)
}

/// The failure of an operation that the engine refused.
pub fn refused(refusal: Refusal) -> Failure {
    Failure::Refused(Refused {
        errno: Errno::from_raw(refusal.kind.errno()),
        text: refusal.message,
    })
}
