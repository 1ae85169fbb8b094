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

/// The properties of a machine, and its command.
#[derive(Clone)]
pub struct Machine {
    pub cpus: u32,
    /// `None`: as much as the kernel needs.
    pub memory_mib: Option<u32>,
    /// Further arguments for QEMU.
    pub qemu_args: Vec<String>,
    /// Further arguments for the kernel.
    pub append: Vec<String>,
    /// A folder of the host that the machine mounts read-only at `/share`.
    pub share: Option<PathBuf>,
    /// The command. If it is empty, a shell.
    pub command: Vec<OsString>,
    /// The time limit of the machine.
    pub timeout: Duration,
    /// How long the machine may print nothing. A machine that hangs would occupy the host's
    /// processors.
    pub silence: Duration,
    /// Whether nf_wasm is inserted before the command.
    pub with_module: bool,
    /// The prefix of each line of output, if not empty.
    pub label: String,
    /// Whether standard output only goes to the run's folder, for the caller. Standard error is
    /// still shown.
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

/// Kernel arguments with which a stock kernel detects more memory errors. They do not include
/// SLUB's record of allocations, which takes a backtrace for each object.
pub const HARDENED: [&str; 3] = [
    "kfence.sample_interval=50",
    "slub_debug=FZP",
    "page_poison=1",
];

/// The interval of checks for output.
const POLL: Duration = Duration::from_millis(20);

/// The accelerator that can run this kernel on this host. /dev/kvm may exist and still not run it,
/// so a machine is booted to find out, once after each boot of the host.
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
    eprintln!("Testing whether /dev/kvm runs {}", kernel.release);
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
            " not: QEMU will emulate it (TCG)"
        }
    );
    files::write(&file, format!("{answers}{question} {answer}\n").as_bytes())?;
    Ok(answer)
}

/// The folder of a run, with the machine's files. Removed after the run.
pub struct Run {
    path: PathBuf,
    inside: String,
}

impl Run {
    fn make(cache: &Cache) -> Result<Self> {
        // Remove the folders of runs that were killed.
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
    /// The path of a file of the run, as the host sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The same path, as QEMU sees it.
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
    /// Prepares the folder of a run.
    pub fn prepare(&self, guest: &Guest, root: &Root, cache: &Cache) -> Result<Run> {
        let run = Run::make(cache)?;
        self.write_initrd(&run, guest, root, cache)?;
        Ok(run)
    }

    /// Boots, runs the command, and returns its exit status. Fails if the kernel reported a
    /// problem.
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
            // QEMU sets the terminal to raw mode and may have been killed.
            if progress::is_terminal(0) {
                let _ = Command::new("stty").arg("sane").status();
            }
            // The output of a shell is not searched for messages of the kernel.
            return Ok(Report::read(&run.path).map_or(1, |report| report.status));
        }
        let errors = File::create(run.path.join("qemu")).context("qemu's messages")?;
        qemu.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        let mut child = qemu.spawn().context("qemu-system-x86_64")?;
        let mut late = self.pass_output(&mut child, run)?;
        if console::lost_a_breakpoint(&run.path) {
            eprintln!("QEMU lost a breakpoint of the kernel at boot; booting once more");
            child = qemu.spawn().context("qemu-system-x86_64")?;
            late = self.pass_output(&mut child, run)?;
        }
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

    /// Concatenates the guest's archives and that of this run.
    fn write_initrd(&self, run: &Run, guest: &Guest, root: &Root, cache: &Cache) -> Result<()> {
        // Another run may replace the archives meanwhile.
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
        // KASAN's shadow alone takes an eighth of the memory.
        let enough = if kernel.flavour.is_own() { 2048 } else { 1024 };
        let memory_mib = self.memory_mib.unwrap_or(enough);
        // no5lvl: while identify_cpu() reads the processor's features again, an interrupt sees a
        // processor without five-level page tables, and KASAN takes every address for a wild one.
        // no_timer_check: with a busy host, a timer tick may arrive later than the kernel waits for
        // it at boot.
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
            // Only warnings: the console is a shell.
            append.push("loglevel=5".to_owned());
        } else {
            qemu.args(["-chardev", &file("console")]);
            // KCSAN's reports are warnings, and most are about the kernel's own races: see
            // `console`.
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

    /// Copies the command's output until the machine stops. If this stops the machine, returns the
    /// reason.
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
                Some(format!("the machine did not end within {limit}"))
            } else if heard.since.elapsed() > self.silence {
                let limit = progress::seconds(self.silence);
                Some(format!("the machine printed nothing for {limit}"))
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

/// The time of a machine's last output.
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
    /// The beginning of a line without its end, if lines have a prefix.
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

    /// The part of the output that can be shown. With a prefix, only whole lines can be shown.
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

    /// Copies new output.
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

/// A word, quoted for a shell.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The terminal's size as arguments of stty, if there is a terminal.
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
