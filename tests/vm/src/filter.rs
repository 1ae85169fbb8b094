// SPDX-License-Identifier: GPL-2.0-only
//! A loaded filter that is unloaded when dropped.

use nf_wasm_shared::abi::ioctl::{
    AttachmentEntry, Counters, FilterEntry, Hook, NF_WASM_RELEASE, NF_WASM_UNLOAD,
};
use nf_wasm_shared::abi::trap::Trap;

use crate::device::{Device, Refused, Spec};
use crate::net::Namespace;

/// A loaded filter. Unloaded when it is dropped, if it still exists.
#[derive(Debug)]
pub struct Filter {
    namespace: Namespace,
    id: u32,
}

impl Namespace {
    /// Loads a filter in this namespace.
    ///
    /// # Panics
    ///
    /// If the kernel module refuses the command.
    #[track_caller]
    pub fn load(&self, spec: Spec) -> Filter {
        match self.try_load(&spec) {
            Ok(filter) => filter,
            Err(refused) => panic!("load of {}: {refused}", spec.name),
        }
    }

    /// Loads a filter in this namespace.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn try_load(&self, spec: &Spec) -> Result<Filter, Refused> {
        let id = self.enter(|| Device::open().load(spec))?;
        Ok(Filter {
            namespace: self.clone(),
            id,
        })
    }

    /// Lists this namespace's filters.
    ///
    /// # Panics
    ///
    /// If the kernel module refuses the command.
    #[track_caller]
    pub fn filters(&self) -> Vec<FilterEntry> {
        self.enter(|| Device::open().filters())
            .expect("list filters")
    }

    /// Lists this namespace's attachments.
    ///
    /// # Panics
    ///
    /// If the kernel module refuses the command.
    #[track_caller]
    pub fn attachments(&self) -> Vec<AttachmentEntry> {
        self.enter(|| Device::open().attachments())
            .expect("list attachments")
    }
}

impl Filter {
    /// The filter's id.
    pub fn id(&self) -> u32 {
        self.id
    }

    fn ask<R: Send>(&self, f: impl FnOnce(&Device) -> R + Send) -> R {
        self.namespace.enter(|| f(&Device::open()))
    }

    /// The filter's entry in the listing.
    ///
    /// # Panics
    ///
    /// If the filter is not listed.
    #[track_caller]
    pub fn entry(&self) -> FilterEntry {
        let found = self.namespace.filters();
        let found = found.into_iter().find(|entry| entry.id == self.id);
        found.expect("the filter is not listed")
    }

    /// The filter's counters.
    #[track_caller]
    pub fn counters(&self) -> Counters {
        self.entry().counters
    }

    /// How many traps of a kind the filter counted.
    #[track_caller]
    pub fn traps(&self, kind: Trap) -> u64 {
        self.counters().traps[kind as usize]
    }

    /// The filter's attachments.
    #[track_caller]
    pub fn attachments(&self) -> Vec<AttachmentEntry> {
        let mut all = self.namespace.attachments();
        all.retain(|entry| entry.filter == self.id);
        all
    }

    /// Replaces the filter's program.
    ///
    /// # Panics
    ///
    /// If the kernel module refuses the command.
    #[track_caller]
    pub fn replace(&self, wasm: &[u8]) {
        if let Err(refused) = self.ask(|device| device.replace(self.id, wasm)) {
            panic!("replace: {refused}");
        }
    }

    /// Attaches the filter to one more hook.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn attach(&self, hook: Hook) -> Result<u32, Refused> {
        self.ask(|device| device.attach(self.id, hook))
    }

    /// Removes an attachment.
    ///
    /// # Errors
    ///
    /// The kernel module's refusal.
    pub fn detach(&self, attachment: u32) -> Result<(), Refused> {
        self.ask(|device| device.detach(attachment))
    }

    /// Ends the filter's quarantine.
    ///
    /// # Panics
    ///
    /// If the kernel module refuses the command.
    #[track_caller]
    pub fn release(&self) {
        if let Err(refused) = self.ask(|device| device.select(NF_WASM_RELEASE, self.id)) {
            panic!("release: {refused}");
        }
    }

    /// Unloads the filter.
    ///
    /// # Panics
    ///
    /// If the kernel module refuses the command.
    #[track_caller]
    pub fn unload(self) {
        if let Err(refused) = self.ask(|device| device.select(NF_WASM_UNLOAD, self.id)) {
            panic!("unload: {refused}");
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // The test may have removed the namespace, the kernel module or the filter.
        if self.namespace.exists() && std::path::Path::new("/dev/nf_wasm").exists() {
            let _ = self.ask(|device| device.select(NF_WASM_UNLOAD, self.id));
        }
    }
}
