//! `completion` and `man`: both from the definition of the command line.

use clap::CommandFactory as _;

use super::args::Cli;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;

/// Prints a completion script.
pub(super) fn completion(desk: &Desk<'_>, shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "shopctl", &mut script);
    desk.console.raw_out(&script)?;
    Ok(Exit::Done)
}

/// Prints the manual: the page of the program, then one section per command.
pub(super) fn man(desk: &Desk<'_>) -> Result<Exit, CliError> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let man = clap_mangen::Man::new(sub.clone());
        page.extend_from_slice(
            format!(".SH \"SHOPCTL {}\"\n", sub.get_name().to_uppercase()).as_bytes(),
        );
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        man.render_extra_section(&mut page)?;
    }
    desk.console.raw_out(&page)?;
    Ok(Exit::Done)
}
