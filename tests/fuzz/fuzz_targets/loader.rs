// SPDX-License-Identifier: GPL-2.0-only
//! Gives the loader random command lines and random answers of a kernel.
#![no_main]

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use nf_wasm_generate::{Result, Unstructured};
use nf_wasm_shared::abi::ioctl::{AttachmentEntry, FilterEntry, Hook, Info, NAME_LEN};
use nf_wasm_shared::decode::plain::Plain;
use nf_wasm_shared::decode::{check, name};
use nfwasm::device::{Answer, Device, Outcome, Packet, Runnable, Settings};
use nfwasm::module::Module;
use nfwasm::name::{Name, Selector};
use nfwasm::output::Output;
use nfwasm::{hook, packet, Cli};

/// A kernel whose answers are random.
#[derive(Clone)]
struct Anything {
    info: Info,
    filters: Vec<FilterEntry>,
    attachments: Vec<AttachmentEntry>,
}

impl Device for Anything {
    fn info(&self) -> Answer<Info> {
        Ok(self.info)
    }
    fn load(&self, _: &Name, _: &Module, _: &Settings, _: &[Hook]) -> Answer<u32> {
        Ok(1)
    }
    fn replace(&self, _: &Selector, _: &Module, _: &Settings) -> Answer {
        Ok(())
    }
    fn unload(&self, _: &Selector) -> Answer {
        Ok(())
    }
    fn release(&self, _: &Selector) -> Answer {
        Ok(())
    }
    fn attach(&self, _: &Selector, _: &Hook) -> Answer<u32> {
        Ok(1)
    }
    fn detach(&self, _: u32) -> Answer {
        Ok(())
    }
    fn filters(&self) -> Answer<Vec<FilterEntry>> {
        Ok(self.filters.clone())
    }
    fn attachments(&self) -> Answer<Vec<AttachmentEntry>> {
        Ok(self.attachments.clone())
    }
    fn run(&self, _: Runnable<'_>, _: Packet<'_>) -> Answer<Outcome> {
        Ok(Outcome::default())
    }
}

fn plain<T: Plain>(u: &mut Unstructured<'_>) -> Result<T> {
    let mut it = T::zeroed();
    u.fill_buffer(it.as_bytes_mut())?;
    Ok(it)
}

/// Formats random answers of the kernel, as text and as JSON.
fn answers(u: &mut Unstructured<'_>) -> Result<()> {
    let count = u.int_in_range(0..=3)?;
    let mut kernel = Anything {
        info: plain(u)?,
        filters: (0..count).map(|_| plain(u)).collect::<Result<_>>()?,
        attachments: (0..count).map(|_| plain(u)).collect::<Result<_>>()?,
    };
    // Let some attachments belong to filters.
    for (filter, attachment) in kernel.filters.iter().zip(&mut kernel.attachments) {
        attachment.filter = filter.id;
    }
    let verb = *u.choose(&["list", "info", "stats"])?;
    for json in [false, true] {
        let mut words = vec!["nfwasm"];
        if json {
            words.push("--json");
        }
        words.push(verb);
        let cli = Cli::try_parse_from(words).expect("verbs");
        let mut shown = Vec::new();
        let mut out = Output::new(&mut shown, json, true);
        let result = nfwasm::execute(&cli, &|| Ok(Box::new(kernel.clone())), &mut out);
        let ended = result.is_ok();
        drop(out);
        let text = String::from_utf8(shown).expect("UTF-8");
        if json && ended {
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        }
        let odd = text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(odd, None, "{verb}: {text:?}");
    }
    Ok(())
}

fn words(text: &str) {
    if let Ok(parsed) = hook::parse(text) {
        check::hook(&parsed).expect("the kernel accepts every hook that the loader accepts");
        assert_eq!(hook::parse(&hook::shown(&parsed)), Ok(parsed), "{text}");
    }
    let mut field = [0; NAME_LEN];
    let fits = text.len() < NAME_LEN && !text.contains('\0');
    if fits {
        field[..text.len()].copy_from_slice(text.as_bytes());
    }
    let kernels = fits && name::Name::parse(&field).is_ok();
    assert_eq!(text.parse::<Name>().is_ok(), kernels, "{text:?}");
    if let Ok(name) = Name::for_file(std::path::Path::new(text)) {
        name::Name::parse(&name.field()).expect("a name");
    }
    if let Some(Ok(bytes)) = packet::hex(text) {
        assert!(bytes.len() * 2 <= text.len());
        let _ = packet::family(&bytes);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    if first % 4 == 0 {
        let _ = answers(&mut Unstructured::new(rest));
    } else if let Ok(text) = std::str::from_utf8(rest) {
        words(text);
    }
});
