//! A folder for the data and logs of a test. When the test ends or the whole run is killed, the processes that run in
//! the folder are killed, the disk in the folder is unmounted, and the folder is removed.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::SUITE;

/// A shell script that removes the folder `$1` when the standard input of the script is closed. The standard input is
/// closed even if the test process is killed. The script kills only processes whose working directory is in the folder.
const CLEAN_UP: &str = r#"
trap '' HUP INT TERM
cat >/dev/null
for process in /proc/[0-9]*; do
  case "$(readlink "$process/cwd" 2>/dev/null)" in
    "$1"|"$1"/*) kill -9 "${process#/proc/}" 2>/dev/null ;;
  esac
done
umount -l "$1/disk" 2>/dev/null
rm -rf "$1" 2>/dev/null || { sleep 1; rm -rf "$1"; }
"#;

pub struct Folder {
    pub path: PathBuf,
    shell: Child,
}

impl Folder {
    pub fn new() -> Self {
        let made = tempfile::Builder::new().prefix(&format!("tollgate-{SUITE}-")).tempdir();
        let path = made.expect("a temporary folder").keep();
        let path = path.canonicalize().expect("the folder exists");
        let shell = Command::new("sh")
            .args(["-c", CLEAN_UP, "clean-up"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        // PostgreSQL may run as another user, which needs access to the folder.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, open).expect("the folder is ours");
        Self { path, shell }
    }

    /// Mounts a disk of this size in the folder. Returns `None` if mounting is not permitted.
    pub fn mount(&self, mebibytes: u32) -> Option<PathBuf> {
        let disk = self.path.join("disk");
        std::fs::create_dir(&disk).expect("the folder is ours");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=0777"), SUITE])
            .arg(&disk)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(disk)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Returns the ids of the processes whose working directory is this folder.
pub fn processes_in(folder: &Path) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    processes
        .filter(|process| {
            std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder)
        })
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect()
}

/// Sends a signal to processes that this test started. Processes that have already ended are ignored.
pub fn signal(name: &str, processes: &[u32]) {
    let ids: Vec<String> = processes.iter().map(ToString::to_string).collect();
    let script = format!("kill -{name} {} 2>/dev/null", ids.join(" "));
    Command::new("sh").args(["-c", &script]).status().expect("a shell runs");
}
