// SPDX-License-Identifier: GPL-2.0-only
//! A loaded filter that is unloaded when dropped.

use nf_wasm_shared::abi::ioctl::{
    AttachmentEntry, Counters, FilterEntry, Hook, NF_WASM_RELEASE, NF_WASM_UNLOAD,
};
use nf_wasm_shared::abi::trap::Trap;

use crate::device::{Device, Refused, Spec};
use crate::net::Namespace;

/// A loaded filter. Dropping it unloads it, if it is still there.
#[derive(Debug)]
pub struct Filter {
    namespace: Namespace,
    id: u32,
}

impl Namespace {
    /// Loads a filter here.
    ///
    /// # Panics
    ///
    /// If the module refuses.
    #[track_caller]
    pub fn load(&self, spec: Spec) -> Filter {
        match self.try_load(&spec) {
            Ok(filter) => filter,
            Err(refused) => panic!("load of {}: {refused}", spec.name),
        }
    }

    /// Loads a filter here.
    ///
    /// # Errors
    ///
    /// What the module refuses.
    pub fn try_load(&self, spec: &Spec) -> Result<Filter, Refused> {
        let id = self.enter(|| Device::open().load(spec))?;
        Ok(Filter {
            namespace: self.clone(),
            id,
        })
    }

    /// The filters here.
    ///
    /// # Panics
    ///
    /// If the module refuses.
    #[track_caller]
    pub fn filters(&self) -> Vec<FilterEntry> {
        self.enter(|| Device::open().filters())
            .expect("list filters")
    }

    /// The attachments here.
    ///
    /// # Panics
    ///
    /// If the module refuses.
    #[track_caller]
    pub fn attachments(&self) -> Vec<AttachmentEntry> {
        self.enter(|| Device::open().attachments())
            .expect("list attachments")
    }
}

impl Filter {
    /// Its id.
    pub fn id(&self) -> u32 {
        self.id
    }

    fn ask<R: Send>(&self, f: impl FnOnce(&Device) -> R + Send) -> R {
        self.namespace.enter(|| f(&Device::open()))
    }

    /// What the listing says of it.
    ///
    /// # Panics
    ///
    /// If it is not there.
    #[track_caller]
    pub fn entry(&self) -> FilterEntry {
        let found = self.namespace.filters();
        let found = found.into_iter().find(|entry| entry.id == self.id);
        found.expect("the filter is not listed")
    }

    /// What was counted.
    #[track_caller]
    pub fn counters(&self) -> Counters {
        self.entry().counters
    }

    /// How many traps of a kind were counted.
    #[track_caller]
    pub fn traps(&self, kind: Trap) -> u64 {
        self.counters().traps[kind as usize]
    }

    /// Its attachments.
    #[track_caller]
    pub fn attachments(&self) -> Vec<AttachmentEntry> {
        let mut all = self.namespace.attachments();
        all.retain(|entry| entry.filter == self.id);
        all
    }

    /// Swaps its program.
    ///
    /// # Panics
    ///
    /// If the module refuses.
    #[track_caller]
    pub fn replace(&self, wasm: &[u8]) {
        if let Err(refused) = self.ask(|device| device.replace(self.id, wasm)) {
            panic!("replace: {refused}");
        }
    }

    /// Attaches it to one more hook.
    ///
    /// # Errors
    ///
    /// What the module refuses.
    pub fn attach(&self, hook: Hook) -> Result<u32, Refused> {
        self.ask(|device| device.attach(self.id, hook))
    }

    /// Undoes an attachment.
    ///
    /// # Errors
    ///
    /// What the module refuses.
    pub fn detach(&self, attachment: u32) -> Result<(), Refused> {
        self.ask(|device| device.detach(attachment))
    }

    /// Ends its quarantine.
    ///
    /// # Panics
    ///
    /// If the module refuses.
    #[track_caller]
    pub fn release(&self) {
        if let Err(refused) = self.ask(|device| device.select(NF_WASM_RELEASE, self.id)) {
            panic!("release: {refused}");
        }
    }

    /// Unloads it.
    ///
    /// # Panics
    ///
    /// If the module refuses.
    #[track_caller]
    pub fn unload(self) {
        if let Err(refused) = self.ask(|device| device.select(NF_WASM_UNLOAD, self.id)) {
            panic!("unload: {refused}");
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // The namespace, the module or the filter may be gone: that is then what was tested.
        if self.namespace.exists() && std::path::Path::new("/dev/nf_wasm").exists() {
            let _ = self.ask(|device| device.select(NF_WASM_UNLOAD, self.id));
        }
    }
}
