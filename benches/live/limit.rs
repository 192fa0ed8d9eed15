//! A backlog drained by a client written by hand, with a message for each event or with none.
//!
//! Owns: what telling costs where nothing else is done. It reads 250 entries at a time with two reads under way, acknowledges each batch
//! by one `XACK`, and in the same write sends a `PUBLISH` for each event, as long as those of orderd.
//! Never: a look at what an event says.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, bail, ensure};

use super::raw::PATIENCE;
use super::scene::{GROUP, STREAM};

const COUNT: &str = "250";
const READS: usize = 2;
const BUFFER: usize = 256 * 1024;

/// Drains what is there; with a message for each event where it is `telling`. Returns how many events there were.
pub(crate) fn drain(port: u16, telling: bool) -> anyhow::Result<u64> {
    let output = TcpStream::connect(("127.0.0.1", port))?;
    output.set_nodelay(true)?;
    output.set_read_timeout(Some(PATIENCE))?;
    let input = BufReader::with_capacity(BUFFER, output.try_clone()?);
    let mut limit = Limit { input, output, line: Vec::new(), request: Vec::new(), asked: VecDeque::new(), told: 0 };
    for _ in 0..READS {
        limit.ask_for_more();
    }
    limit.send()?;
    let mut drained = 0;
    while let Some(asked) = limit.asked.pop_front() {
        match asked {
            Asked::Read => {
                let ids = limit.entries()?;
                if ids.is_empty() {
                    continue;
                }
                drained += ids.len() as u64;
                limit.ask_for_more();
                limit.settle(&ids, telling)?;
                limit.send()?;
            }
            Asked::Numbers(count) => {
                for _ in 0..count {
                    limit.head(b':')?;
                }
            }
        }
    }
    Ok(drained)
}

/// What the next answer is to.
enum Asked {
    Read,
    /// So many commands that are answered by a number each.
    Numbers(usize),
}

struct Limit {
    input: BufReader<TcpStream>,
    output: TcpStream,
    line: Vec<u8>,
    request: Vec<u8>,
    asked: VecDeque<Asked>,
    told: usize,
}

impl Limit {
    fn ask_for_more(&mut self) {
        let words = ["XREADGROUP", "GROUP", GROUP, "limit", "COUNT", COUNT, "STREAMS", STREAM, ">"];
        self.begin(words.len());
        words.iter().for_each(|word| self.word(word.as_bytes()));
        self.asked.push_back(Asked::Read);
    }

    fn settle(&mut self, ids: &[Vec<u8>], telling: bool) -> anyhow::Result<()> {
        self.begin(3 + ids.len());
        ["XACK", STREAM, GROUP].into_iter().for_each(|word| self.word(word.as_bytes()));
        ids.iter().for_each(|id| self.word(id));
        let (mut channel, mut text) = (Vec::new(), Vec::new());
        for id in ids.iter().filter(|_| telling) {
            channel.clear();
            text.clear();
            write!(channel, "notifications:user:user-{}", self.told % 977)?;
            write!(
                text,
                "{{\"type\":\"order.created\",\"orderId\":\"order-{}\",\"state\":null,\"amount\":\"499.90\"",
                self.told
            )?;
            write!(text, ",\"entryId\":\"{}\"", std::str::from_utf8(id)?)?;
            write!(text, ",\"version\":null,\"at\":\"2026-01-02T03:04:05.678Z\"}}")?;
            self.told += 1;
            self.begin(3);
            [&b"PUBLISH"[..], &channel, &text].into_iter().for_each(|word| self.word(word));
        }
        self.asked.push_back(Asked::Numbers(1 + if telling { ids.len() } else { 0 }));
        Ok(())
    }

    fn begin(&mut self, words: usize) {
        self.request.extend_from_slice(format!("*{words}\r\n").as_bytes());
    }

    fn word(&mut self, word: &[u8]) {
        self.request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        self.request.extend_from_slice(word);
        self.request.extend_from_slice(b"\r\n");
    }

    fn send(&mut self) -> anyhow::Result<()> {
        self.output.write_all(&self.request)?;
        self.request.clear();
        Ok(())
    }

    /// The ids in the answer to a read.
    fn entries(&mut self) -> anyhow::Result<Vec<Vec<u8>>> {
        if self.head(b'*')? < 0 {
            return Ok(Vec::new());
        }
        self.head(b'*')?;
        self.bulk()?;
        let count = self.head(b'*')?;
        let mut ids = Vec::with_capacity(usize::try_from(count)?);
        for _ in 0..count {
            self.head(b'*')?;
            ids.push(self.bulk()?.to_vec());
            for _ in 0..self.head(b'*')? {
                self.bulk()?;
            }
        }
        Ok(ids)
    }

    fn bulk(&mut self) -> anyhow::Result<&[u8]> {
        let length = usize::try_from(self.head(b'$')?)?;
        self.line.resize(length + 2, 0);
        self.input.read_exact(&mut self.line)?;
        Ok(&self.line[..length])
    }

    /// A line that begins with `kind`: its number.
    fn head(&mut self, kind: u8) -> anyhow::Result<i64> {
        self.line.clear();
        if self.input.read_until(b'\n', &mut self.line)? == 0 {
            bail!("the server closed the connection");
        }
        let text = std::str::from_utf8(&self.line)?.trim_end();
        ensure!(text.as_bytes().first() == Some(&kind), "the server says: {text}");
        text[1..].parse().with_context(|| text.to_owned())
    }
}
