// SPDX-License-Identifier: GPL-2.0-only
//! Builds the engine's object: cargo compiles it with its own `core`, the kernel's target and the
//! kernel's flags.

use crate::error::{Context, Error, Result};
use crate::files::{self, Cache};
use crate::kernel::Kernel;
use crate::patched::Patched;
use crate::progress::Progress;
use crate::root::Root;
use crate::tool;
use std::fs;
use std::path::{Path, PathBuf};

/// The crate of the static library.
const PACKAGE: &str = "nf-wasm-engine-object";
/// The prefix of the functions that the kernel half calls. All other symbols of the object become
/// local.
const ENTRY_PREFIX: &str = "nf_wasm_engine_";

/// The flags of Kbuild's rustc calls that affect code generation. Excluded are lints, crate search
/// paths, the settings of cargo's profile (optimization, overflow checks, debug information), and
/// function-sections, which must stay on for `--gc-sections`.
const CODE_GENERATION: [&str; 23] = [
    "-Cforce-frame-pointers",
    "-Cpanic",
    "-Cforce-unwind-tables",
    "-Csymbol-mangling-version",
    "-Crelocation-model",
    "-Ctarget-feature",
    "-Ctarget-cpu",
    "-Ccode-model",
    "-Cno-redzone",
    "-Cjump-tables",
    "-Cllvm-args",
    "-Zcf-protection",
    "-Zfunction-return",
    "-Zindirect-branch-cs-prefix",
    "-Zjump-tables",
    "-Zllvm_module_flag",
    "-Zno-jump-tables",
    "-Zpatchable-function-entry",
    "-Zretpoline",
    "-Zsanitizer",
    "-Zsanitizer-cfi-normalize-integers",
    "-Zsanitizer-recover",
    "-Ztune-cpu",
];

/// When LLVM merges weak functions, it leaves them without a name. kCFI would define the symbol
/// `__cfi_` for each of them, and compiler_builtins has several.
const WITH_CFI: &str = " -Zmerge-functions=disabled";

/// Builds the object for `kernel`. Returns its path.
pub fn build(
    kernel: &Kernel,
    root: &Root,
    cache: &Cache,
    patched: &Patched,
    progress: &Progress,
) -> Result<PathBuf> {
    let log = cache.path("log/engine.log");
    tool::new_log(&log)?;
    progress.step(
        "Engine object",
        "cargo build with the kernel's flags",
        &log,
        || {
            let mut flags = kernel_flags(kernel, root, cache, &log)?;
            if let Some(extra) = kernel.extra_rust_flags()? {
                flags = format!("{flags} {extra}");
            }
            if flags.split(' ').any(|flag| flag == "-Zsanitizer=kcfi") {
                flags.push_str(WITH_CFI);
            }
            let target = kernel.dir("build/scripts/target.json");
            let target = fs::read_to_string(&target).context(target.display())?;
            // Kernels with the same flags share the object.
            let assertions = kernel.option("RUST_DEBUG_ASSERTIONS")?.is_some();
            let key = format!("{flags}{target}{assertions}");
            let name = format!("engine-{}", &files::hash(&key)[..8]);
            let name = cache.of_checkout(&name);
            let inside = format!("/cache/{name}");
            let dir = cache.path(&name);
            files::write(&dir.join("target.json"), target.as_bytes())?;

            let mut cargo = patched.cargo(root, "build");
            cargo.args(["--release", "--package", PACKAGE]);
            // Allows unstable flags with a stable compiler, as the kernel's build does.
            cargo.env("RUSTC_BOOTSTRAP", "1");
            cargo.args(["--target", &format!("{inside}/target.json")]);
            cargo.args([
                "-Zbuild-std=core,alloc",
                "-Zbuild-std-features=compiler-builtins-mem",
            ]);
            cargo.args(["--target-dir", &format!("{inside}/target")]);
            cargo.env("RUSTFLAGS", format!("{flags} -Zfunction-sections=y"));
            // The stack of the load path was measured at this level. One codegen unit lets LLVM
            // inline the dispatch.
            cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2");
            cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
            cargo.env(
                "CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS",
                assertions.to_string(),
            );
            tool::run(&mut cargo, &log)?;

            let library = format!(
                "{inside}/target/target/release/lib{}.a",
                PACKAGE.replace('-', "_")
            );
            let object = format!("{inside}/engine.o");
            let entries = entries(&library, root, &log)?;
            let roots = entries.iter().map(|entry| format!("--undefined={entry}"));
            let mut link = root.command(["ld", "-r", "--gc-sections", "-o", &object]);
            tool::run(link.args(roots).arg(&library), &log)?;
            let keep = entries
                .iter()
                .map(|entry| format!("--keep-global-symbol={entry}"));
            tool::run(root.command(["objcopy"]).args(keep).arg(&object), &log)?;
            Ok(dir.join("engine.o"))
        },
    )
}

/// The code generation flags that Kbuild passes to rustc for a module, read from a build of an
/// empty module.
fn kernel_flags(kernel: &Kernel, root: &Root, cache: &Cache, log: &Path) -> Result<String> {
    let _lock = cache.lock()?;
    let sample = kernel.dir("flags");
    let flags = sample.join("flags");
    let config = kernel.dir("build/.config");
    let config = fs::read_to_string(&config).context(config.display())?;
    let key = files::hash(&format!("{} {config}", CODE_GENERATION.join(" ")));
    files::once(&sample, &key, || {
        files::write(&sample.join("Kbuild"), b"obj-m := sample.o\n")?;
        files::write(&sample.join("sample.rs"), b"//! Nothing.\n")?;
        let mut make = root.command(["make", "-C", &kernel.inside("build"), "V=1"]);
        make.args([format!("M={}", kernel.inside("flags")), kernel.toolchain()?]);
        let said = tool::capture(make.arg("sample.o"), log)?;
        let call = said
            .lines()
            .find(|line| line.contains(" RUST_MODFILE=") && line.contains("sample.rs"))
            .context("Kbuild did not show how it calls rustc")?;
        let words = call.split_whitespace().filter(|word| {
            CODE_GENERATION.iter().any(|flag| {
                word.strip_prefix(flag)
                    .map_or(false, |rest| rest.is_empty() || rest.starts_with('='))
            })
        });
        files::write(&flags, words.collect::<Vec<_>>().join(" ").as_bytes())
    })?;
    let text = fs::read_to_string(&flags).context(flags.display())?;
    files::write(&cache.path("log/engine-flags"), text.as_bytes())?;
    Ok(text)
}

/// The functions of the library that the kernel half calls.
fn entries(library: &str, root: &Root, log: &Path) -> Result<Vec<String>> {
    let mut nm = root.command(["nm", "--defined-only", "--extern-only", "--format=posix"]);
    let symbols = tool::capture(nm.arg(library), log)?;
    let entries: Vec<String> = symbols
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|symbol| symbol.starts_with(ENTRY_PREFIX))
        .map(str::to_owned)
        .collect();
    if entries.is_empty() {
        return Err(Error::new(format!(
            "{library} defines no {ENTRY_PREFIX}… function"
        )));
    }
    Ok(entries)
}
