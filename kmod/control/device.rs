// SPDX-License-Identifier: GPL-2.0-only
//! `/dev/nf_wasm`: checks permissions, and dispatches ioctls to commands.

use kernel::fs::File;
use kernel::miscdevice::{MiscDevice, MiscDeviceRegistration};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex};
use kernel::task::CurrentTask;

use crate::abi::ioctl;
use crate::control::command;
use crate::control::guest_test;
use crate::control::refusal::{refuse, Answer};
use crate::control::request::exchange;
use crate::module_parameters;
use crate::objects::namespace::Namespace;

/// An open device. Commands act on the network namespace of their caller. An open device has a
/// state only for tests of the engine.
#[pin_data]
pub(crate) struct Device {
    #[pin]
    test: Mutex<Option<guest_test::Session>>,
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let device = pin_init!(Self {
            test <- new_mutex!(None),
        });
        KBox::pin_init(device, GFP_KERNEL_ACCOUNT)
    }

    fn ioctl(device: Pin<&Self>, _file: &File, number: u32, argument: usize) -> Result<isize> {
        dispatch(device, current!(), number, argument)
    }
}

macro_rules! dispatch {
    ($($constant:ident $number:literal $handler:ident($request:ident) by $caller:ident,
        $what:literal;)*) => {
        /// Carries out the ioctl with this number.
        fn dispatch(
            device: Pin<&Device>,
            caller: &CurrentTask,
            number: u32,
            argument: usize,
        ) -> Result<isize> {
            match number {
                $(ioctl::$constant => {
                    carry_out!($caller, $handler, ioctl::$request, device, caller, argument)
                })*
                _ => Err(ENOTTY),
            }
        }
    };
}

/// Checks the caller's permission, and calls a handler.
macro_rules! carry_out {
    (anyone, $handler:ident, $request:ty, $device:ident, $caller:ident, $argument:ident) => {
        exchange::<$request>($argument, command::$handler)
    };
    (namespace, $handler:ident, $request:ty, $device:ident, $caller:ident, $argument:ident) => {
        exchange::<$request>($argument, |it| command::$handler(authorised($caller)?, it))
    };
    (tester, $handler:ident, $request:ty, $device:ident, $caller:ident, $argument:ident) => {
        if guest_test::is_available() {
            exchange::<$request>($argument, |it| {
                authorised_by($caller, false)?;
                guest_test::carry_out(&$device.test, it)
            })
        } else {
            Err(ENOTTY)
        }
    };
}

crate::nf_wasm_ioctls!(dispatch);

/// The caller's network namespace, if the caller has permission to change it.
fn authorised(caller: &CurrentTask) -> Answer<&Namespace> {
    authorised_by(caller, module_parameters::user_namespaces.value())
}

/// As [`authorised`]. With `user_namespaces`, the capability in the user namespace that owns the
/// network namespace suffices.
fn authorised_by(caller: &CurrentTask, user_namespaces: bool) -> Answer<&Namespace> {
    let namespace = Namespace::current(caller)?;
    if !namespace.net().is_capable(user_namespaces) {
        let which = if user_namespaces {
            "the user namespace that owns this network namespace"
        } else {
            "the initial user namespace"
        };
        refuse!(EPERM, "CAP_NET_ADMIN in {} is needed", which);
    }
    Ok(namespace)
}
