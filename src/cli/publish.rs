//! `orderd publish`: one message to one channel, for trying out.

use super::Cli;
use super::exit::Exit;
use crate::broker::messages::Messages;
use crate::broker::pubsub::Publisher;

/// Publishes a message to a channel, and prints how many subscribers it was given to
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The channel, such as notifications:user:user-123
    channel: String,

    /// The message
    message: String,
}

/// Publishes, and says who was there to hear it. Nobody is no error: that is how Pub/Sub works.
pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let settings = cli.settings()?;
    let receivers = super::with_broker(&settings, async |broker| {
        let mut publisher = Publisher::open(broker.connector()).await?;
        let mut messages = Messages::new();
        messages.push(|channel, text| {
            channel.push_str(&args.channel);
            text.push_str(&args.message);
        });
        Ok(publisher.publish(&messages).await?)
    })?;
    let said = match receivers {
        0 => "nobody was listening".to_owned(),
        1 => "1 subscriber was given it".to_owned(),
        many => format!("{many} subscribers were given it"),
    };
    super::print(&format!("{said}\n"))?;
    Ok(Exit::Success)
}
