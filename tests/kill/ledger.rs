//! What opcodes did, outside of the queue: each line is of a command that really ran.

use std::collections::HashMap;
use std::path::Path;

/// The opcodes whose commands write the ledger. `what` names opcode and job in it, `lock` is
/// what they exclude each other by.
pub(crate) fn opcodes(ledger: &Path) -> String {
    let ledger = ledger.display();
    let write =
        |words: &str| format!("argv = ['sh', '-c', '{words}', 'sh', '{{what}}', '{{lock}}']\n");
    let begin_and_end =
        write(&format!("echo \"begin $1 $2\" >> {ledger}; echo \"end $1 $2\" >> {ledger}"));
    let undo = format!("undo = ['sh', '-c', 'echo \"undo $1 -\" >> {ledger}', 'sh', '{{what}}']\n");
    let opcode = |id: &str, policy: &str, rest: &str| {
        format!(
            "[[opcode]]\nid = '{id}'\nparams.what = 'string'\nparams.lock = 'string'\n\
             locks.instance = {{ exclusive = '{{lock}}' }}\non_crash = '{policy}'\n\
             {begin_and_end}{rest}"
        )
    };
    let failing = "[[opcode]]\nid = 'OP_FAIL'\nargv = ['false']\n";
    [
        opcode("OP_ONCE", "fail", ""),
        opcode("OP_AGAIN", "retry", ""),
        opcode("OP_UNDONE", "undo", &undo),
        failing.to_owned(),
    ]
    .concat()
}

/// What the ledger says of one opcode: at which lines it did what.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    pub(crate) begun: Vec<usize>,
    pub(crate) ended: Vec<usize>,
    pub(crate) undone: Vec<usize>,
}

/// The ledger, by the names of opcodes. Whoever held a lock was alone with it.
pub(crate) fn read(path: &Path) -> HashMap<String, Deeds> {
    let mut deeds = HashMap::<String, Deeds>::new();
    let mut holders = HashMap::<String, String>::new();
    let text = std::fs::read_to_string(path).unwrap();
    for (place, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let &[verb, what, lock] = words.as_slice() else { panic!("line {place}: {line:?}") };
        let of = deeds.entry(what.to_owned()).or_default();
        match verb {
            "begin" => {
                of.begun.push(place);
                holders.insert(lock.to_owned(), what.to_owned());
            }
            "end" => {
                of.ended.push(place);
                let holder = holders.get(lock).map(String::as_str);
                assert_eq!(holder, Some(what), "line {place}: {lock} was somebody else's");
            }
            _ => of.undone.push(place),
        }
    }
    deeds
}
