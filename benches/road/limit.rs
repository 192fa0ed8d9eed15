//! The raw limit: a client made by hand that does as little as a client can.
//!
//! Owns: what the others are compared with. It reads 250 entries at a time with two reads under way, acknowledges each batch by one
//! `XACK`, and looks at nothing but the ids. It reaches what the server can deliver and take back.
//! Never: decoding, lanes, a handler, metrics, trimming, a way back after an error: everything that makes a worker.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{bail, ensure};

use super::backlog::{GROUP, STREAM};
use super::client::{BLOCK_MS, RESPONSE_TIMEOUT, Stop};

/// Entries in one read: 250 come to 99 % of what any number reaches.
const COUNT: usize = 250;
/// Reads under way at once.
const READS: usize = 2;
const BUFFER: usize = 256 * 1024;

/// Reads and acknowledges as this consumer until it is asked to stop.
pub(crate) fn run(port: u16, consumer: &str, stop: &Stop) -> anyhow::Result<()> {
    let mut client = Limit::new(port, consumer)?;
    while !stop.is_asked_for() {
        client.wait_for_entries()?;
        client.drain()?;
    }
    Ok(())
}

/// What the next answer is to.
enum Asked {
    Read,
    Ack,
}

struct Limit {
    input: Input,
    output: TcpStream,
    asked: VecDeque<Asked>,
    reads: usize,
    /// The command to read what is there, and the one that waits.
    read: Vec<u8>,
    blocking_read: Vec<u8>,
    /// The ids of a batch, as arguments.
    ids: Vec<u8>,
    request: Vec<u8>,
}

impl Limit {
    fn new(port: u16, consumer: &str) -> anyhow::Result<Self> {
        let output = TcpStream::connect(("127.0.0.1", port))?;
        output.set_nodelay(true)?;
        output.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
        let (count, block) = (COUNT.to_string(), BLOCK_MS.to_string());
        let begin = ["XREADGROUP", "GROUP", GROUP, consumer, "COUNT", &count];
        let end = ["STREAMS", STREAM, ">"];
        Ok(Self {
            input: Input { stream: output.try_clone()?, buffer: vec![0; BUFFER], start: 0, end: 0 },
            output,
            asked: VecDeque::new(),
            reads: 0,
            read: command(begin.into_iter().chain(end)),
            blocking_read: command(begin.into_iter().chain(["BLOCK", &block]).chain(end)),
            ids: Vec::new(),
            request: Vec::new(),
        })
    }

    /// One read that blocks. Nothing else is sent meanwhile, for it would wait behind it.
    fn wait_for_entries(&mut self) -> anyhow::Result<()> {
        self.output.write_all(&self.blocking_read)?;
        self.asked.push_back(Asked::Read);
        self.reads += 1;
        self.take_answer()?;
        Ok(())
    }

    /// Goes on until nothing is there and nothing is under way.
    fn drain(&mut self) -> anyhow::Result<()> {
        while !self.asked.is_empty() {
            self.take_answer()?;
        }
        Ok(())
    }

    fn take_answer(&mut self) -> anyhow::Result<()> {
        match self.asked.pop_front() {
            Some(Asked::Ack) => {
                self.input.head(b':')?;
            }
            Some(Asked::Read) => {
                self.reads -= 1;
                self.ids.clear();
                let count = self.input.entries(&mut self.ids)?;
                if count > 0 {
                    self.acknowledge_and_read_on(count)?;
                }
            }
            None => bail!("an answer to nothing"),
        }
        Ok(())
    }

    fn acknowledge_and_read_on(&mut self, count: usize) -> io::Result<()> {
        self.request.clear();
        // Reads first: the server can prepare their answers while the ids of the acks are still on their way.
        while self.reads < READS {
            self.request.extend_from_slice(&self.read);
            self.asked.push_back(Asked::Read);
            self.reads += 1;
        }
        write!(self.request, "*{}\r\n", 3 + count)?;
        ["XACK", STREAM, GROUP].into_iter().for_each(|part| push(&mut self.request, part.as_bytes()));
        self.request.extend_from_slice(&self.ids);
        self.asked.push_back(Asked::Ack);
        self.output.write_all(&self.request)
    }
}

/// What the server sends, taken apart where it lies.
struct Input {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// Goes through the answer to a read; the ids are added to `ids` as arguments of the next command. Returns how many there are.
    fn entries(&mut self, ids: &mut Vec<u8>) -> anyhow::Result<usize> {
        if self.head(b'*')? < 0 {
            return Ok(0);
        }
        self.head(b'*')?;
        self.bulk(None)?;
        let count = self.head(b'*')?;
        for _ in 0..count {
            self.head(b'*')?;
            self.bulk(Some(ids))?;
            for _ in 0..self.head(b'*')? {
                self.bulk(None)?;
            }
        }
        Ok(usize::try_from(count)?)
    }

    /// A line that begins with `kind`: its number.
    fn head(&mut self, kind: u8) -> anyhow::Result<i64> {
        let mut at = 0;
        loop {
            while self.start + at >= self.end {
                self.fill()?;
            }
            if self.buffer[self.start + at] == b'\n' {
                break;
            }
            at += 1;
        }
        let line = &self.buffer[self.start..self.start + at];
        self.start += at + 1;
        let Some((&first, number)) = line.split_first() else { bail!("an empty line") };
        ensure!(first == kind, "the server says: {}", String::from_utf8_lossy(line));
        let digits = number.iter().filter(|byte| byte.is_ascii_digit());
        let number = digits.fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        Ok(if line.get(1) == Some(&b'-') { -number } else { number })
    }

    /// A string, passed over or copied as it stands.
    fn bulk(&mut self, into: Option<&mut Vec<u8>>) -> anyhow::Result<()> {
        let length = usize::try_from(self.head(b'$')?)?;
        while self.end - self.start < length + 2 {
            self.fill()?;
        }
        if let Some(into) = into {
            push(into, &self.buffer[self.start..self.start + length]);
        }
        self.start += length + 2;
        Ok(())
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start.., 0);
            self.end -= self.start;
            self.start = 0;
        }
        match self.stream.read(&mut self.buffer[self.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.end += length;
                Ok(())
            }
        }
    }
}

fn command<'p>(parts: impl Iterator<Item = &'p str> + Clone) -> Vec<u8> {
    let mut command = format!("*{}\r\n", parts.clone().count()).into_bytes();
    parts.for_each(|part| push(&mut command, part.as_bytes()));
    command
}

fn push(into: &mut Vec<u8>, part: &[u8]) {
    into.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
    into.extend_from_slice(part);
    into.extend_from_slice(b"\r\n");
}
