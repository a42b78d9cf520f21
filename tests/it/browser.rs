//! Chromium against the box. The Debian package is used; root gets it installed, anybody else is told.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{clients, support::appliance::is_root};

/// Where `RUN402_TEST_CHROMIUM`, Debian or other distributions have it.
fn chromium() -> Option<PathBuf> {
    std::env::var_os("RUN402_TEST_CHROMIUM")
        .map(PathBuf::from)
        .into_iter()
        .chain(["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from))
        .find(|path| path.is_file())
}

/// Installs the browser where that is possible: as root, on a machine with apt.
fn install() {
    if !is_root() || !Path::new("/usr/bin/apt-get").is_file() {
        return;
    }
    for arguments in [&["update", "-q"][..], &["install", "-q", "-y", "--no-install-recommends", "chromium"]] {
        let run = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output();
        if let Ok(output) = run
            && !output.status.success()
        {
            eprintln!("apt-get {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// Runs a suite with a browser, or says why not.
fn run(suite: &str) {
    let Some(browser) = chromium().or_else(|| {
        install();
        chromium()
    }) else {
        eprintln!(
            "SKIPPED: no Chromium on this machine, and it cannot be installed without root and apt. Install the \
             package chromium, or name the program in RUN402_TEST_CHROMIUM."
        );
        return;
    };
    // Where RUN402_TEST_SCREENSHOTS says, pictures are kept to be looked at.
    let pictures = std::env::var_os("RUN402_TEST_SCREENSHOTS").map(PathBuf::from);
    let mut environment = vec![("RUN402_TEST_CHROMIUM", browser.as_path())];
    environment.extend(pictures.as_deref().map(|dir| ("RUN402_TEST_SCREENSHOTS", dir)));
    clients::run_with(suite, &environment);
}

#[test]
fn a_browser_shows_the_greeting_and_runs_a_deployed_site() {
    run("browser.test.mjs");
}

#[test]
fn a_browser_signs_users_up_in_and_out_of_an_app_of_their_own_rows() {
    run("auth-browser.test.mjs");
}
