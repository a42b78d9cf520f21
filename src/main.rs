//! Arguments and dispatch, nothing else.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use run402::{
    appliance::{
        BootError,
        config::{Config, Overrides},
        secrets, serve,
    },
    engines::postgres::unpack_bundle,
    features::functions::build,
};

/// Requests allocate and free many small things on several threads; this is where that is cheapest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A backend that agents provision and pay for by themselves, in one binary.
#[derive(Parser)]
#[command(name = "run402", version, about, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the appliance until it is told to stop (SIGTERM or Ctrl-C).
    #[command(after_long_help = serve::HELP)]
    Serve(ServeArguments),
    /// Work of the box's owner.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Builds one function, from standard input to standard output: the server runs it for source it does not trust.
    #[command(hide = true)]
    BuildFunction,
    /// Unpacks the database server: `serve` runs it on its first start, to keep its own memory free of that.
    #[command(hide = true)]
    UnpackPostgres { install: PathBuf, cluster: PathBuf },
}

#[derive(Args)]
struct ServeArguments {
    #[command(flatten)]
    place: Place,
    /// Address and port of the API [default: 127.0.0.1:4020]. Port 0 picks a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Base domain; projects live on its subdomains [default: localhost].
    #[arg(long, value_name = "BASE")]
    domain: Option<String>,
    /// Service user when started as root [default: run402 if it exists, else nobody].
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Overrides one setting, e.g. --set faucet.cooldown_seconds=0. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
struct Place {
    /// Where everything is kept [default: /var/lib/run402 as root, else $XDG_DATA_HOME/run402].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Configuration file [default: run402.toml in the data directory, if there is one].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Prints the platform admin credential of a box, for the X-Admin-Key header.
    Token(Place),
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("run402: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, BootError> {
    match command {
        Command::BuildFunction => return Ok(build::serve()),
        Command::UnpackPostgres { install, cluster } => return Ok(unpack_bundle(&install, &cluster)),
        Command::Serve(arguments) => serve::run(&Overrides {
            data_dir: arguments.place.data_dir,
            config: arguments.place.config,
            listen: arguments.listen,
            domain: arguments.domain,
            user: arguments.user,
            set: arguments.set,
        })?,
        Command::Admin(AdminCommand::Token(place)) => {
            let overrides = Overrides { data_dir: place.data_dir, config: place.config, ..Overrides::default() };
            let key = secrets::read_admin_key(&Config::load(&overrides)?.data_dir)?;
            println!("{}", key.as_str());
        }
    }
    Ok(ExitCode::SUCCESS)
}
