// SPDX-License-Identifier: GPL-2.0-only
//! The cache folder, its locks, and file operations.

use crate::error::{Context, Error, Result};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::io::AsRawFd;
use std::path::{Path, PathBuf};
use std::{env, io};

/// The folder for everything that is built. All checkouts of a user share it.
#[derive(Clone)]
pub struct Cache {
    /// The folder's path.
    pub dir: PathBuf,
    /// The checkout's own folder: its name contains a hash of the checkout's path.
    checkout: String,
    /// The checkout's path.
    sources: PathBuf,
}

/// A lock of a part of the cache. Other runs that build the same part wait for it.
pub struct Lock(File);

impl Drop for Lock {
    /// Notes when the part was last used.
    fn drop(&mut self) {
        let _ = self.0.write_all(b"\n");
    }
}

extern "C" {
    fn flock(fd: i32, operation: i32) -> i32;
}
const LOCK_EX: i32 = 2;
const LOCK_NB: i32 = 4;

/// The file, in a checkout's folder, that has the checkout's path.
const SOURCES: &str = "sources";

impl Cache {
    /// Opens the cache folder for the checkout at `checkout`.
    pub fn open(checkout: &Path) -> Result<Self> {
        let dir = match env::var_os("NF_WASM_CACHE") {
            Some(dir) => PathBuf::from(dir),
            None => env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
                .context("neither NF_WASM_CACHE nor HOME is set")?
                .join("nf_wasm"),
        };
        fs::create_dir_all(dir.join("log")).context(dir.display())?;
        let dir = dir.canonicalize().context(dir.display())?;
        Ok(Self {
            dir,
            checkout: format!("checkout-{}", hash(&checkout.to_string_lossy())),
            sources: checkout.to_path_buf(),
        })
    }

    /// A path in the cache, as the host sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The name, relative to the cache, of a file or folder of this checkout.
    pub fn of_checkout(&self, name: &str) -> String {
        format!("{}/{name}", self.checkout)
    }

    /// Waits until no other run builds a part that all checkouts share: the build root, the
    /// kernels. Not held while a checkout's own parts are built.
    pub fn lock(&self) -> Result<Lock> {
        self.lock_file(&self.path("lock"))
    }

    /// Waits until no other run compiles this kernel. Must be called without [`Self::lock`].
    pub fn lock_kernel(&self, release: &str) -> Result<Lock> {
        self.lock_file(&self.path(&format!("lock-{release}")))
    }

    /// Waits until no other run builds this checkout. Must be called before [`Self::lock`].
    pub fn lock_checkout(&self) -> Result<Lock> {
        let dir = self.path(&self.checkout);
        if !dir.exists() {
            if let Some(lock) = self.adopt(&dir) {
                return Ok(lock);
            }
        }
        fs::create_dir_all(&dir).context(dir.display())?;
        let lock = self.lock_file(&dir.join("lock"))?;
        write(&dir.join(SOURCES), self.sources.as_os_str().as_bytes())?;
        Ok(lock)
    }

    /// Makes the folder of a checkout that is gone this checkout's `dir`, so that dependencies are not
    /// compiled again. cargo goes by modification times: the checkout has to be a clone that was made
    /// after the folder was last used, so that all of its files are newer than what was built.
    fn adopt(&self, dir: &Path) -> Option<Lock> {
        let cloned = fs::metadata(self.sources.join(".git"))
            .ok()?
            .created()
            .ok()?;
        for entry in fs::read_dir(&self.dir).ok()?.flatten() {
            let of = match fs::read(entry.path().join(SOURCES)) {
                Ok(of) => of,
                Err(_) => continue,
            };
            let lock = entry.path().join("lock");
            let used = fs::metadata(&lock).and_then(|it| it.modified());
            if Path::new(OsStr::from_bytes(&of)).exists() || used.map_or(true, |it| it >= cloned) {
                continue;
            }
            let file = match File::options().append(true).open(&lock) {
                Ok(file) => file,
                Err(_) => continue,
            };
            if take(&file, LOCK_EX | LOCK_NB) && fs::rename(entry.path(), dir).is_ok() {
                write(&dir.join(SOURCES), self.sources.as_os_str().as_bytes()).ok()?;
                return Some(Lock(file));
            }
        }
        None
    }

    fn lock_file(&self, path: &Path) -> Result<Lock> {
        let file = File::create(path).context(path.display())?;
        if !take(&file, LOCK_EX | LOCK_NB) {
            eprintln!(
                "Waiting for another cargo xtask that is building in {}",
                self.dir.display()
            );
            if !take(&file, LOCK_EX) {
                return Err(io::Error::last_os_error()).context(path.display());
            }
        }
        Ok(Lock(file))
    }
}

/// Takes a lock of a file, in the way that `how` says.
fn take(file: &File, how: i32) -> bool {
    // SAFETY: flock() accesses no memory of this process, and `file` keeps the descriptor open.
    unsafe { flock(file.as_raw_fd(), how) == 0 }
}

/// A short hash of `text` (FNV-1a). The input is trusted.
pub fn hash(text: &str) -> String {
    let value = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |value, byte| {
        (value ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{value:016x}")
}

/// Runs `make` to fill `dir`, unless that was done before with the same `key`. The stamp is written
/// at the end, so the files of an interrupted run are removed first.
pub fn once(dir: &Path, key: &str, make: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_made(dir, key) {
        return Ok(());
    }
    remove_tree(dir)?;
    fs::create_dir_all(dir).context(dir.display())?;
    make()?;
    fs::write(dir.join(".made"), key).context(dir.display())
}

/// Whether `dir` was filled with the key `key`.
pub fn is_made(dir: &Path, key: &str) -> bool {
    fs::read_to_string(dir.join(".made")).map_or(false, |made| made == key)
}

/// Removes a tree. Fails if something is mounted in it: the removal would continue there.
pub fn remove_tree(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let real = dir.canonicalize().context(dir.display())?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    for line in mounts.lines() {
        let point = line.split(' ').nth(4).unwrap_or("").replace("\\040", " ");
        if Path::new(&point).starts_with(&real) {
            return Err(Error::new(format!(
                "{point} is a mount point: unmount it before {} can be removed",
                dir.display()
            )));
        }
    }
    fs::remove_dir_all(dir).context(dir.display())
}

/// Writes `content`, unless the file has it already: some tools look at modification times.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).map_or(false, |old| old == content) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).context(dir.display())?;
    }
    fs::write(path, content).context(path.display())
}

/// Copies a file and its permissions, if the copy differs.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    write(to, &fs::read(from).context(from.display())?)?;
    let mode = fs::metadata(from).context(from.display())?.permissions();
    fs::set_permissions(to, mode).context(to.display())
}

/// Copies the files `names`, relative to `from`, into `to`. Folders are copied with their contents.
/// Removes files that an earlier call copied and that no longer exist.
pub fn mirror(from: &Path, to: &Path, names: &[&str]) -> Result<()> {
    let mut files = BTreeSet::new();
    for name in names {
        list(from, Path::new(name), &mut files)?;
    }
    let manifest = to.join(".mirrored");
    for gone in fs::read_to_string(&manifest).unwrap_or_default().lines() {
        if !files.contains(Path::new(gone)) {
            let _ = fs::remove_file(to.join(gone));
        }
    }
    for file in &files {
        copy(&from.join(file), &to.join(file))?;
    }
    let lines: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    write(&manifest, lines.join("\n").as_bytes())
}

/// Collects the files under `base`/`name`, without build products.
pub fn list(base: &Path, name: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let path = base.join(name);
    let kind = fs::symlink_metadata(&path).context(path.display())?;
    if kind.is_dir() {
        for entry in fs::read_dir(&path).context(path.display())? {
            let entry = entry.context(path.display())?;
            if is_product(&entry.file_name().to_string_lossy()) {
                continue;
            }
            list(base, &name.join(entry.file_name()), files)?;
        }
    } else {
        files.insert(name.to_path_buf());
    }
    Ok(())
}

fn is_product(name: &str) -> bool {
    name == "target"
        || [".o", ".ko", ".mod", ".cmd"]
            .iter()
            .any(|ending| name.ends_with(ending))
}

/// The contents of the files under `names` in `base`, for a key.
pub fn contents(base: &Path, names: &[&str]) -> Result<String> {
    let mut files = BTreeSet::new();
    for name in names.iter().filter(|name| base.join(name).exists()) {
        list(base, Path::new(name), &mut files)?;
    }
    let mut all = String::new();
    for file in files {
        all += &file.to_string_lossy();
        let bytes = fs::read(base.join(&file)).context(file.display())?;
        all += &String::from_utf8_lossy(&bytes);
    }
    Ok(all)
}

/// Whether any user may execute the file.
pub fn is_executable(file: &Metadata) -> bool {
    file.is_file() && file.permissions().mode() & 0o111 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    /// A cache folder with one checkout's folder in it, and the sources of two checkouts.
    fn cache(dir: &Path, checkout: &str) -> Cache {
        let sources = dir.join(checkout);
        fs::create_dir_all(sources.join(".git")).expect("sources");
        Cache {
            dir: dir.to_path_buf(),
            checkout: format!("checkout-{checkout}"),
            sources,
        }
    }

    #[test]
    fn a_new_clone_adopts_the_folder_of_a_checkout_that_is_gone() {
        let dir = env::temp_dir().join(format!("nf-wasm-adopt-{}", std::process::id()));
        let old = cache(&dir, "old");
        drop(old.lock_checkout().expect("a lock"));
        fs::write(dir.join("checkout-old/built"), "").expect("a product");
        // Its sources may be older than what was built.
        let before = cache(&dir, "before");
        drop(old.lock_checkout().expect("a lock"));
        thread::sleep(Duration::from_millis(50));
        let after = cache(&dir, "after");

        drop(after.lock_checkout().expect("a lock"));
        assert!(!dir.join("checkout-after/built").exists(), "still in use");
        fs::remove_dir_all(dir.join("checkout-after")).expect("remove");
        fs::remove_dir_all(&old.sources).expect("remove");
        drop(before.lock_checkout().expect("a lock"));
        assert!(!dir.join("checkout-before/built").exists(), "too old");
        drop(after.lock_checkout().expect("a lock"));
        assert!(dir.join("checkout-after/built").exists(), "adopted");
        assert!(!dir.join("checkout-old").exists());
        fs::remove_dir_all(&dir).expect("remove");
    }
}
