//! A client written by hand: the least that stands between a program and the server.
//!
//! Owns: a plain socket, commands as they go over it, and as much of the replies as is needed here.
//! Never: a library between the socket and whoever measures.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::scene::{GROUP, STREAM};

/// An answer that takes longer does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
    command: Vec<u8>,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) enum Reply {
    Nothing,
    Number,
    Text(Vec<u8>),
    List(Vec<Reply>),
}

impl Raw {
    pub(crate) fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), command: Vec::new() })
    }

    /// A connection that hears what is published on `channel`.
    pub(crate) fn subscribed(port: u16, word: &str, channel: &str) -> anyhow::Result<Self> {
        let mut raw = Self::connect(port)?;
        raw.queue(&[word.as_bytes(), channel.as_bytes()])?;
        raw.send()?;
        raw.reply()?;
        Ok(raw)
    }

    /// The next message.
    pub(crate) fn message(&mut self) -> anyhow::Result<Vec<u8>> {
        match self.reply()? {
            Reply::List(mut parts) => match parts.pop() {
                Some(Reply::Text(payload)) => Ok(payload),
                _ => bail!("not a message"),
            },
            other => bail!("not a message: {other:?}"),
        }
    }

    /// Puts a command in the line of what is sent next.
    pub(crate) fn queue(&mut self, words: &[&[u8]]) -> anyhow::Result<()> {
        write!(self.command, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.command, "${}\r\n", word.len())?;
            self.command.extend_from_slice(word);
            self.command.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    pub(crate) fn send(&mut self) -> anyhow::Result<()> {
        self.stream.get_mut().write_all(&self.command)?;
        self.command.clear();
        Ok(())
    }

    pub(crate) fn reply(&mut self) -> anyhow::Result<Reply> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line)? == 0 {
            bail!("the server closed the connection");
        }
        let text = std::str::from_utf8(&line)?.trim_end();
        let (kind, rest) = text.split_at_checked(1).context("an empty line")?;
        match kind {
            "+" => Ok(Reply::Text(rest.into())),
            ":" => Ok(Reply::Number),
            "$" | "*" if rest == "-1" => Ok(Reply::Nothing),
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok(Reply::Text(bytes))
            }
            "*" => Ok(Reply::List((0..rest.parse::<usize>()?).map(|_| self.reply()).collect::<Result<_, _>>()?)),
            _ => bail!("the server said {text}"),
        }
    }

    /// Does for an event what orderd does, and no more: reads it, acknowledges it, tells of it. Until `count` are done.
    pub(crate) fn work(&mut self, count: usize) -> anyhow::Result<()> {
        let mut done = 0;
        while done < count {
            let read = b"XREADGROUP GROUP g c COUNT 250 BLOCK 5000 STREAMS s >".split(|byte| *byte == b' ');
            let mut words: Vec<&[u8]> = read.collect();
            (words[2], words[8]) = (GROUP.as_bytes(), STREAM.as_bytes());
            self.queue(&words)?;
            self.send()?;
            let ids = ids(self.reply()?);
            for id in &ids {
                self.queue(&[b"XACK", STREAM.as_bytes(), GROUP.as_bytes(), id.as_bytes()])?;
                let text = format!("{{\"type\":\"order.created\",\"orderId\":\"order-1\",\"entryId\":\"{id}\"}}");
                self.queue(&[b"PUBLISH", b"notifications:user:user-1", text.as_bytes()])?;
            }
            self.send()?;
            for _ in 0..2 * ids.len() {
                self.reply()?;
            }
            done += ids.len();
        }
        Ok(())
    }
}

/// The ids in the reply to a read of one stream.
fn ids(read: Reply) -> Vec<String> {
    let list = |reply| if let Reply::List(parts) = reply { parts } else { Vec::new() };
    let streams = list(read).into_iter();
    let entries = streams.filter_map(|stream| list(stream).pop()).flat_map(list);
    let first = entries.filter_map(|entry| list(entry).into_iter().next());
    first.filter_map(|id| if let Reply::Text(id) = id { String::from_utf8(id).ok() } else { None }).collect()
}
