//! The stream is deleted and made again, and its ids are given out again.
//!
//! Owns: the end of one life of the stream and the beginning of the next, as one step; naming what nobody had settled by then.
//! Never: an excuse for an entry that had been acknowledged: that one has to be in the ledger, whatever has its id now.

use crate::checker::record::{Id, What};
use crate::stage::Stage;
use crate::stage::stream::{COUNT, DEAD, GROUP, LIFE, STREAM, letter};

/// Answers { the life that has ended, what was pending or not delivered yet, the dead letters that went with it }.
const END_A_LIFE: &str = r"
local life, open, letters = redis.call('GET', KEYS[2]) or '0', {}, {}
if redis.call('EXISTS', KEYS[1]) == 0 then return { life, open, letters } end
local last
for _, fields in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #fields, 2 do group[fields[i]] = fields[i + 1] end
  if group['name'] == ARGV[1] then last = group['last-delivered-id'] end
end
if last then
  for _, row in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 50000)) do open[#open + 1] = row[1] end
end
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], last and ('(' .. last) or '-', '+')) do open[#open + 1] = entry[1] end
if ARGV[2] == 'empty' then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[4], '-', '+')) do letters[#letters + 1] = entry[2] end
  redis.call('FLUSHALL')
else
  redis.call('DEL', KEYS[1], KEYS[3])
end
redis.call('SET', KEYS[2], life + 1)
return { life, open, letters }
";

type Ended = (u64, Vec<String>, Vec<Vec<Vec<u8>>>);

/// Somebody deletes the stream, or empties the whole server, and the producer begins with its first id again.
pub(crate) fn use_ids_again(stage: &mut Stage) {
    stage.pause_between(1_000, 2_000);
    let empty = stage.turns % 2 == 1;
    stage.turns += 1;
    let mut end = redis::cmd("EVAL");
    end.arg(END_A_LIFE).arg(4).arg(STREAM).arg(LIFE).arg(COUNT).arg(DEAD).arg(GROUP);
    end.arg(if empty { "empty" } else { "delete" });
    let Ok((life, open, letters)) = stage.redis.ask(|connection| end.query::<Ended>(connection)) else { return };
    let ids = open.iter().filter_map(|id| id.parse().ok()).map(|id: Id| id.in_life(life));
    stage.journal.note(What::Deleted { ids: ids.collect() });
    stage.journal.note(What::LettersDeleted { letters: letters.iter().map(|fields| letter(fields)).collect() });
    stage.journal.injected(if empty { "servers emptied" } else { "streams deleted" });
}
