// SPDX-License-Identifier: GPL-2.0-only
//! Runs a virtual machine: QEMU's arguments, input and output.

use crate::console::{self, Report};
use crate::error::{Context, Result};
use crate::files::{self, Cache};
use crate::flavour::Flavour;
use crate::guest::Guest;
use crate::kernel::Kernel;
use crate::progress;
use crate::root::Root;
use crate::tool;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a machine is to be and to do.
#[derive(Clone)]
pub struct Machine {
    pub cpus: u32,
    /// Nothing is what the kernel needs.
    pub memory_mib: Option<u32>,
    /// Arguments for QEMU.
    pub qemu_args: Vec<String>,
    /// Arguments for the kernel.
    pub append: Vec<String>,
    /// A folder of the host that is seen, read-only, at `/share`.
    pub share: Option<PathBuf>,
    /// What to run; nothing gives a shell.
    pub command: Vec<OsString>,
    /// How long it may take.
    pub timeout: Duration,
    /// How long it may say nothing. What hangs keeps its processors busy.
    pub silence: Duration,
    /// Whether the module is loaded first.
    pub with_module: bool,
    /// What each line of its output begins with, if not empty.
    pub label: String,
    /// What it prints is left in the run's folder, for whoever started it, but for errors.
    pub captured: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory_mib: None,
            qemu_args: Vec::new(),
            append: Vec::new(),
            share: None,
            command: Vec::new(),
            timeout: Duration::from_secs(1800),
            silence: Duration::MAX,
            with_module: true,
            label: String::new(),
            captured: false,
        }
    }
}

/// Boot arguments that make a stock kernel look harder for memory errors. SLUB does not remember who
/// allocated: that is a backtrace for each object.
pub const HARDENED: [&str; 3] = [
    "kfence.sample_interval=50",
    "slub_debug=FZP",
    "page_poison=1",
];

/// How often the machine's output is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Which accelerator runs this kernel here. /dev/kvm may exist and still not run it, so it is
/// asked to, once after each boot of the host.
pub fn accelerator(
    kernel: &Kernel,
    guest: &Guest,
    root: &Root,
    cache: &Cache,
) -> Result<&'static str> {
    let kvm = File::options().read(true).write(true).open("/dev/kvm");
    if kvm.is_err() {
        return Ok("tcg");
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let question = format!("{} {}", boot.trim(), kernel.release);
    let file = cache.path("kvm");
    let answers = fs::read_to_string(&file).unwrap_or_default();
    let known = |name: &str| {
        answers
            .lines()
            .any(|line| line == format!("{question} {name}"))
    };
    if known("kvm") {
        return Ok("kvm");
    }
    if known("tcg") {
        return Ok("tcg");
    }
    eprintln!("Trying whether /dev/kvm runs {}", kernel.release);
    let probe = Machine {
        cpus: 1,
        command: vec!["true".into()],
        timeout: Duration::from_secs(10),
        with_module: false,
        ..Machine::default()
    };
    let works = (|| {
        let run = probe.prepare(guest, root, cache)?;
        probe.run(&run, "kvm", kernel, guest, root, cache)
    })();
    let works = matches!(works, Ok(0));
    let answer = if works { "kvm" } else { "tcg" };
    eprintln!(
        "It does{}.",
        if works {
            ""
        } else {
            " not: QEMU will interpret (TCG)"
        }
    );
    files::write(&file, format!("{answers}{question} {answer}\n").as_bytes())?;
    Ok(answer)
}

/// The folder of one run, with what goes into the machine; removed after it.
pub struct Run {
    path: PathBuf,
    inside: String,
}

impl Run {
    fn make(cache: &Cache) -> Result<Self> {
        // What runs that were killed left behind.
        for old in fs::read_dir(cache.path("run"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = old.file_name().to_string_lossy().into_owned();
            let process = name.split('.').next().unwrap_or("");
            if !Path::new("/proc").join(process).exists() {
                files::remove_tree(&old.path())?;
            }
        }
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("run/{}.{number}", std::process::id());
        let path = cache.path(&name);
        files::remove_tree(&path)?;
        fs::create_dir_all(path.join("tree/etc/nf_wasm")).context(path.display())?;
        Ok(Self {
            path,
            inside: format!("/cache/{name}"),
        })
    }
}

impl Run {
    /// A file of the run's, as the host sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The same, as QEMU sees it.
    pub fn inside(&self, name: &str) -> String {
        format!("{}/{name}", self.inside)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = files::remove_tree(&self.path);
    }
}

impl Machine {
    /// Puts together what goes into the machine.
    pub fn prepare(&self, guest: &Guest, root: &Root, cache: &Cache) -> Result<Run> {
        let run = Run::make(cache)?;
        self.write_initrd(&run, guest, root, cache)?;
        Ok(run)
    }

    /// Boots, runs the command, and returns its exit status. A kernel that complained is an error.
    pub fn run(
        &self,
        run: &Run,
        accelerator: &str,
        kernel: &Kernel,
        guest: &Guest,
        root: &Root,
        cache: &Cache,
    ) -> Result<i32> {
        let shared_by_9p = self.share.is_some() && guest.has_9p;
        let mut qemu = root.command_with_share(self.share.as_deref(), ["qemu-system-x86_64"]);
        self.add_arguments(&mut qemu, accelerator, kernel, &run.inside, shared_by_9p);
        if self.command.is_empty() {
            qemu.status().context("qemu-system-x86_64")?;
            // QEMU has had the terminal in raw mode, and may not have been asked to end.
            if progress::is_terminal(0) {
                let _ = Command::new("stty").arg("sane").status();
            }
            // What the shell showed is no complaint of the kernel's.
            return Ok(Report::read(&run.path).map_or(1, |report| report.status));
        }
        let errors = File::create(run.path.join("qemu")).context("qemu's messages")?;
        qemu.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        let mut child = qemu.spawn().context("qemu-system-x86_64")?;
        let late = self.pass_output(&mut child, run)?;
        let kept = match self.label.as_str() {
            "" => cache.path("log/console.log"),
            label => {
                let name = label.replace(", ", "-").replace(' ', "-");
                cache.path(&format!("log/console-{name}.log"))
            }
        };
        fs::copy(run.path.join("console"), &kept).context("the console's log")?;
        match late {
            None => console::judge(&run.path),
            Some(late) => Err(console::trouble(&run.path, &late)),
        }
        .context(format!("The machine's console is in {}", kept.display()))
    }

    /// Puts the guest's archives and this run's own together.
    fn write_initrd(&self, run: &Run, guest: &Guest, root: &Root, cache: &Cache) -> Result<()> {
        // Another run may be replacing the archives.
        let _locks = (cache.lock_checkout()?, cache.lock()?);
        let tree = run.path.join("tree");
        let share = match (&self.share, guest.has_9p) {
            (None, _) => "",
            (Some(_), true) => "9p",
            (Some(_), false) => "copy",
        };
        let module = if self.with_module { "yes" } else { "" };
        let settings = format!(
            "SHARE='{share}'\nMODULE='{module}'\nSIZE='{}'\nTERMINAL='{}'\n",
            terminal_size(),
            std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned())
        );
        files::write(&tree.join("etc/nf_wasm/settings"), settings.as_bytes())?;
        if !self.command.is_empty() {
            let words: Vec<String> = self
                .command
                .iter()
                .map(|word| quote(&word.to_string_lossy()))
                .collect();
            let script = format!("exec {}\n", words.join(" "));
            files::write(&tree.join("etc/nf_wasm/command"), script.as_bytes())?;
        }
        let script = r#"
            set -e
            run=$1 share=$2
            shift 2
            if [ "$share" = copy ]; then
                (cd / && find share -depth | cpio --quiet -pdm "$run/tree")
            fi
            cd "$run/tree"
            find . | cpio --quiet -o -H newc -R 0:0 > ../run.cpio
            cat "$@" ../run.cpio > ../initrd"#;
        let mut command = root.command_with_share(self.share.as_deref(), ["sh", "-c", script]);
        command.args(["sh", &run.inside, share]);
        for archive in &guest.archives {
            let name = archive.strip_prefix(&cache.dir).unwrap_or(archive);
            command.arg(Path::new("/cache").join(name));
        }
        tool::run(&mut command, &cache.path("log/initrd.log"))
    }

    fn add_arguments(
        &self,
        qemu: &mut Command,
        accelerator: &str,
        kernel: &Kernel,
        run: &str,
        shared_by_9p: bool,
    ) {
        // KASAN's shadow alone takes an eighth.
        let enough = if kernel.flavour.is_own() { 2048 } else { 1024 };
        let memory_mib = self.memory_mib.unwrap_or(enough);
        // While identify_cpu() finds out anew what the processor can, an interrupt sees one without five
        // levels of page tables, and KASAN takes every address for a wild one.
        // Where others keep the host's processors busy, a timer's tick may come later than the kernel waits
        // for it at boot.
        let mut append: Vec<String> = [
            "console=ttyS0",
            "panic=-1",
            "oops=panic",
            "no5lvl",
            "no_timer_check",
        ]
        .iter()
        .map(|word| (*word).to_owned())
        .collect();
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        qemu.args(["-machine", &format!("q35,accel={accelerator}")]);
        qemu.args(["-cpu", if accelerator == "kvm" { "host" } else { "max" }]);
        qemu.args([
            "-smp",
            &self.cpus.to_string(),
            "-m",
            &memory_mib.to_string(),
        ]);
        qemu.args([
            "-kernel",
            &kernel.vmlinuz(),
            "-initrd",
            &format!("{run}/initrd"),
        ]);
        let file = |name: &str| format!("file,id={name},path={run}/{name}");
        if self.command.is_empty() {
            let log = format!("logfile={run}/console");
            qemu.args([
                "-chardev",
                &format!("stdio,id=console,signal=off,mux=on,{log}"),
            ]);
            qemu.args(["-mon", "console"]);
            // Warnings only: what is wanted here is the shell.
            append.push("loglevel=5".to_owned());
        } else {
            qemu.args(["-chardev", &file("console")]);
            // KCSAN's reports warn, and most of them are of the kernel's own races: see `console`.
            if kernel.flavour != Flavour::Kcsan {
                append.push("panic_on_warn=1".to_owned());
            }
        }
        qemu.args(["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
        for port in ["stdout", "stderr", "status"] {
            let device = format!("virtserialport,chardev={port},name=nf_wasm.{port}");
            qemu.args(["-chardev", &file(port), "-device", &device]);
        }
        if shared_by_9p {
            let options = "local,path=/share,mount_tag=share,security_model=none,readonly=on";
            qemu.args(["-virtfs", options]);
        }
        append.extend(self.append.iter().cloned());
        qemu.args(["-append", &append.join(" ")])
            .args(&self.qemu_args);
    }

    /// Passes on what the command prints until the machine stops. Where it is stopped, returns why.
    fn pass_output(&self, qemu: &mut Child, run: &Run) -> Result<Option<String>> {
        let started = Instant::now();
        let mut heard = Heard {
            bytes: 0,
            since: started,
        };
        let mut stdout = Tail::of(run.path.join("stdout"), &self.label);
        let mut stderr = Tail::of(run.path.join("stderr"), &self.label);
        loop {
            let ended = tool::has_ended(qemu).context("qemu-system-x86_64")?;
            heard.listen(&run.path);
            let late = if started.elapsed() > self.timeout {
                let limit = progress::seconds(self.timeout);
                Some(format!("it was not done after {limit}"))
            } else if heard.since.elapsed() > self.silence {
                let limit = progress::seconds(self.silence);
                Some(format!("it said nothing for {limit}"))
            } else {
                None
            };
            if late.is_some() && !ended {
                let _ = qemu.kill();
                let _ = qemu.wait();
            }
            if !self.captured {
                stdout.pass_on(&mut io::stdout())?;
            }
            stderr.pass_on(&mut io::stderr())?;
            if ended {
                return Ok(None);
            }
            if late.is_some() {
                return Ok(late);
            }
            thread::sleep(POLL);
        }
    }
}

/// When a machine last said something.
struct Heard {
    bytes: u64,
    since: Instant,
}

impl Heard {
    fn listen(&mut self, run: &Path) {
        let len = |file| fs::metadata(run.join(file)).map_or(0, |file| file.len());
        let bytes = ["console", "stdout", "stderr"].map(len).iter().sum();
        if bytes != self.bytes {
            *self = Self {
                bytes,
                since: Instant::now(),
            };
        }
    }
}

/// A file that grows.
struct Tail {
    path: PathBuf,
    file: Option<File>,
    label: String,
    /// The beginning of a line whose end is still to come, if lines are labelled.
    begun: Vec<u8>,
}

impl Tail {
    fn of(path: PathBuf, label: &str) -> Self {
        Self {
            path,
            file: None,
            label: label.to_owned(),
            begun: Vec::new(),
        }
    }

    /// What of `bytes` can be shown, which of several machines' output are whole lines.
    fn shown(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if self.label.is_empty() {
            return bytes;
        }
        let mut shown = Vec::new();
        for byte in bytes {
            self.begun.push(byte);
            if byte == b'\n' {
                shown.extend(format!("{:<6}| ", self.label).bytes());
                shown.append(&mut self.begun);
            }
        }
        shown
    }

    /// Copies what is new.
    fn pass_on(&mut self, to: &mut dyn Write) -> Result<()> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).context(self.path.display())?;
            let bytes = self.shown(bytes);
            if !bytes.is_empty() {
                to.write_all(&bytes)
                    .and_then(|()| to.flush())
                    .context("output")?;
            }
        }
        Ok(())
    }
}

/// A word as a shell reads it back.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The terminal's size in stty's words, if there is one.
fn terminal_size() -> String {
    let size = Command::new("stty")
        .arg("size")
        .stdin(Stdio::inherit())
        .output();
    let size = size.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match size.unwrap_or_default().trim().split_once(' ') {
        Some(("0", _)) | None => String::new(),
        Some((rows, columns)) => format!("rows {rows} cols {columns}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
