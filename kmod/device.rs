// SPDX-License-Identifier: GPL-2.0-only
//! `/dev/nf_wasm`: one method for each command.

use kernel::fs::File;
use kernel::miscdevice::{MiscDevice, MiscDeviceRegistration};
use kernel::prelude::*;

use crate::abi::ioctl;
use crate::bindings;
use crate::command;
use crate::module_parameters;
use crate::namespace::Namespace;
use crate::refusal::{refuse, Answer};
use crate::request::exchange;

/// An open device. It has no state: commands act where their caller is.
pub(crate) struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        Ok(KBox::new(Device, GFP_KERNEL)?)
    }

    fn ioctl(_device: &Self, _file: &File, number: u32, argument: usize) -> Result<isize> {
        match number {
            ioctl::NF_WASM_INFO => exchange(argument, command::info),
            ioctl::NF_WASM_LOAD => exchange(argument, |it| command::load(authorised()?, it)),
            ioctl::NF_WASM_REPLACE => exchange(argument, |it| command::replace(authorised()?, it)),
            ioctl::NF_WASM_UNLOAD => exchange(argument, |it| command::unload(authorised()?, it)),
            ioctl::NF_WASM_ATTACH => exchange(argument, |it| command::attach(authorised()?, it)),
            ioctl::NF_WASM_DETACH => exchange(argument, |it| command::detach(authorised()?, it)),
            ioctl::NF_WASM_LIST_FILTERS => {
                exchange(argument, |it| command::list_filters(authorised()?, it))
            }
            ioctl::NF_WASM_LIST_ATTACHMENTS => {
                exchange(argument, |it| command::list_attachments(authorised()?, it))
            }
            ioctl::NF_WASM_RUN => exchange(argument, |it| command::run(authorised()?, it)),
            ioctl::NF_WASM_RELEASE => exchange(argument, |it| command::release(authorised()?, it)),
            _ => Err(ENOTTY),
        }
    }
}

/// The caller's network namespace, if the caller may act in it.
fn authorised() -> Answer<&'static Namespace> {
    let namespace = Namespace::current()?;
    let user_namespaces = module_parameters::user_namespaces.value() != 0;
    // SAFETY: The namespace lives as long as its state does.
    if !unsafe { bindings::nf_wasm_net_capable(namespace.net(), user_namespaces) } {
        let which = if user_namespaces {
            "the user namespace that owns this network namespace"
        } else {
            "the initial user namespace"
        };
        refuse!(EPERM, "CAP_NET_ADMIN in {} is needed", which);
    }
    Ok(namespace)
}
