//! `raftshare txn`: changes attributes of names, depending on conditions, all at once or not at all.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use clap::Args;
use raft_store::types::{TxnId, limits};

use crate::cli::Session;
use crate::cli::attributes::{TypedCondition, condition, operation, show_leases, shown};
use crate::cli::leases::{kept, renew_kept};
use crate::cli::session::blocking;
use crate::cluster::{Branch, Error, TxnAnswer, name_of};
use crate::contract::{ErrorCode, TxnCondition, TxnOperation, TxnRequest, TxnResponse};
use crate::peer::Folder;
use crate::terminal::{Exit, Failure};

/// Largest transaction that is read from a file, in bytes; a node takes less.
const JSON_BYTES_MAX: u64 = 1024 * 1024;

const EXAMPLES: &str = "\
Conditions:
  exists NAME              absent NAME            version NAME N          hash NAME SHA256
  lease NAME               the live lease is the one that this folder keeps; or: lease NAME TOKEN
  NAME:KEY=VALUE           compares an attribute, with one of = != < <= > >=

Operations:
  set NAME:KEY VALUE       unset NAME:KEY         delete NAME (a record; of a file all attributes)
  add NAME:KEY N [min N] [max N]                  outside its bounds the whole transaction is refused

A VALUE that is a whole number is an integer; anything else is a text, and so is what stands in double quotes.

Examples:
  raftshare txn --if 'market/a:price<=120' --then 'add market/a:stock -3 min 0'
  raftshare txn --if 'absent market/b' --then 'set market/b:price 250' --then 'set market/b:unit kg'
  raftshare txn --if 'version notes.md 4' --then 'set notes.md:state final' --else 'set notes.md:state late'
  echo '{\"if\":[],\"then\":[{\"add\":{\"name\":\"a\",\"attr\":\"n\",\"by\":1}}]}' | raftshare txn -
  raftshare txn --id 1204.0";

/// Change attributes if conditions hold: all changes together, exactly once.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Txn {
    /// Read the transaction from this file, as JSON in the form of the API; `-` is the standard input.
    #[arg(value_name = "FILE")]
    pub file: Option<String>,
    /// Read it from the standard input; the same as `-`.
    #[arg(long, conflicts_with = "file")]
    pub json: bool,
    /// A condition. All must hold.
    #[arg(long = "if", value_name = "CONDITION", value_parser = condition)]
    pub conditions: Vec<TypedCondition>,
    /// An operation for when all conditions hold.
    #[arg(long, value_name = "OPERATION", value_parser = operation)]
    pub then: Vec<TxnOperation>,
    /// An operation for when a condition does not hold.
    #[arg(long = "else", value_name = "OPERATION", value_parser = operation)]
    pub otherwise: Vec<TxnOperation>,
    /// Exit with 5 if a condition did not hold.
    #[arg(long)]
    pub must_hold: bool,
    /// Idempotency key: repeated under the same key, the transaction is applied once and answered alike.
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub key: Option<String>,
    /// Show what became of an earlier transaction instead.
    #[arg(long, value_name = "INDEX.N",
          conflicts_with_all = ["file", "json", "conditions", "then", "otherwise", "must_hold", "key"])]
    pub id: Option<TxnId>,
}

fn idempotency_key(text: &str) -> Result<String, String> {
    if (1..=limits::KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("a key is 1 to {} printable ASCII characters without blanks", limits::KEY_BYTES_MAX))
}

impl Txn {
    /// Sends the transaction, or looks up an earlier one, and prints its outcome.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        if let Some(id) = self.id {
            return look_up(session, id).await;
        }
        let (conditions, then, otherwise) = self.parts(session).await?;
        if then.is_empty() && otherwise.is_empty() && conditions.is_empty() {
            return Err(Failure::new(Exit::Usage, "the transaction is empty").hint("see examples:  raftshare txn --help"));
        }
        let answer = send(session, self.key.clone(), conditions, then, otherwise).await?;
        print(session, &answer);
        if self.must_hold && answer.branch == Branch::Else {
            return Err(Failure::new(Exit::Conflict, "a condition did not hold"));
        }
        Ok(())
    }

    /// What was typed, after what was read.
    async fn parts(&self, session: &Session) -> Result<(Vec<TxnCondition>, Vec<TxnOperation>, Vec<TxnOperation>), Failure> {
        let from = self.file.clone().or_else(|| self.json.then(|| "-".to_owned()));
        if session.interactive && from.as_deref() == Some("-") {
            return Err(Failure::new(Exit::Usage, "the shell itself reads the standard input; name a file"));
        }
        let (mut conditions, mut then, mut otherwise) = match from {
            Some(path) => read(path).await?,
            None => Default::default(),
        };
        for condition in &self.conditions {
            conditions.push(match condition {
                TypedCondition::Complete(condition) => condition.clone(),
                TypedCondition::OwnLease(name) => {
                    let folder = session.folder().await?;
                    let lease = kept(&folder, name).await?.ok_or_else(|| {
                        Failure::new(Exit::NotFound, format!("this folder has no lease of {name}"))
                            .hint(format!("take it:  raftshare lease acquire '{name}'"))
                    })?;
                    TxnCondition::Lease { name: name.clone(), lease_token: lease.token }
                }
            });
        }
        then.extend(self.then.iter().cloned());
        otherwise.extend(self.otherwise.iter().cloned());
        Ok((conditions, then, otherwise))
    }
}

/// A transaction in JSON. The peer is always this folder's.
async fn read(path: String) -> Result<(Vec<TxnCondition>, Vec<TxnOperation>, Vec<TxnOperation>), Failure> {
    let named = path.clone();
    let bytes = blocking(move || {
        let mut bytes = Vec::new();
        if path == "-" {
            std::io::stdin().take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        } else {
            std::fs::File::open(&path)?.take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        }
        Ok::<_, std::io::Error>(bytes)
    });
    let bytes = bytes.await?.map_err(|error| Failure::new(Exit::Disk, format!("cannot read {named}: {error}")))?;
    let bad = |what: String| {
        Failure::new(Exit::Usage, format!("{named} is not a transaction: {what}"))
            .hint("it looks like  {\"if\":[],\"then\":[{\"set\":{\"name\":\"a\",\"attr\":\"price\",\"value\":120}}]}")
    };
    if bytes.len() as u64 > JSON_BYTES_MAX {
        return Err(bad(format!("it is larger than {JSON_BYTES_MAX} bytes")));
    }
    let mut json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    let Some(fields) = json.as_object_mut() else { return Err(bad("it is not an object".into())) };
    if let Some(unknown) = fields.keys().find(|field| !["peerId", "if", "then", "else"].contains(&field.as_str())) {
        return Err(bad(format!("it has the unknown field {unknown:?}")));
    }
    fields.insert("peerId".into(), "this folder".into());
    fields.entry("then").or_insert_with(|| serde_json::json!([]));
    let request: TxnRequest = serde_json::from_value(json).map_err(|error| bad(error.to_string()))?;
    Ok((request.conditions, request.then, request.otherwise))
}

/// Sends a transaction as this folder's peer, with the leases that the folder keeps.
pub(in crate::cli) async fn send(
    session: &Session,
    key: Option<String>,
    conditions: Vec<TxnCondition>,
    then: Vec<TxnOperation>,
    otherwise: Vec<TxnOperation>,
) -> Result<TxnAnswer, Failure> {
    let folder = session.folder().await?;
    let mut request = TxnRequest { peer_id: folder.peer_id(), conditions, then, otherwise };
    show_leases(&folder, &mut request).await?;
    // A session of its own: the index keeps its answer for a day, so that it can be looked up or repeated.
    let key = key.unwrap_or_else(|| format!("{:016x}:1", rand::random::<u64>()));
    let client = session.client.with_key(key.as_str());
    let answer = session.as_peer(&folder, async || {
        client.txn(&request.peer_id).with(request.clone()).send().await.map_err(Error::from)
    });
    let error = match answer.await {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    if !error.is_definite() {
        let advice = format!("repeat it with  --key {key}  to learn what happened: it is applied at most once");
        return Err(Failure::from(error).hint(advice));
    }
    if matches!(error.code(), Some(ErrorCode::LeaseExpired | ErrorCode::LeaseRequired)) {
        return Err(forget_ended(session, &folder, &request, error).await);
    }
    Err(error.into())
}

/// Deletes the kept leases of these names that are over. The refusal does not say which one it was about.
async fn forget_ended(session: &Session, folder: &Arc<Folder>, request: &TxnRequest, error: Error) -> Failure {
    let names: BTreeSet<_> = request.then.iter().chain(&request.otherwise).map(name_of).collect();
    let mut ended = Vec::new();
    for name in names {
        let Ok(Some(lease)) = kept(folder, name).await else { continue };
        // Renewing is how a lease that is over is noticed, and deleted.
        if let Err(failure) = renew_kept(session, folder, name, lease, None).await
            && failure.exit == Exit::Conflict
        {
            ended.push(name.to_string());
        }
    }
    let leased = error.problem().and_then(|problem| problem.name.clone());
    let failure = Failure::from(error);
    if ended.is_empty() {
        let name = leased.map_or_else(|| "NAME".to_owned(), |name| format!("'{name}'"));
        return failure.hint(format!("take the lease:  raftshare lease acquire {name}"));
    }
    failure.hint(format!("the lease that this folder kept is over ({}); look, then repeat", ended.join(", ")))
}

async fn look_up(session: &Session, id: TxnId) -> Result<(), Failure> {
    let Some(answer) = session.client.txn_outcome(id).await? else {
        return Err(Failure::new(Exit::NotFound, format!("the index does not know transaction {id}"))
            .hint("it keeps the answers of transactions with a key for a day"));
    };
    print(session, &answer.value);
    session.output.freshness(&answer.freshness);
    Ok(())
}

/// Prints the branch, and each name as it was after the transaction.
fn print(session: &Session, answer: &TxnAnswer) {
    let branch = match answer.branch {
        Branch::Then => "then",
        Branch::Else => "else",
    };
    let row = |name: String, version: String, attributes: String| {
        vec![branch.to_owned(), answer.id.to_string(), name, version, attributes]
    };
    let mut rows: Vec<_> = answer.names.iter().map(|touched| {
        let version = touched.version.map_or_else(|| "-".into(), |version| format!("v{version}"));
        row(touched.name.to_string(), version, shown(&touched.attributes))
    }).collect();
    if rows.is_empty() {
        rows.push(row("-".into(), "-".into(), "-".into()));
    }
    let header = ["BRANCH", "TXN", "NAME", "VER", "ATTRIBUTES"];
    session.output.result(&TxnResponse::from(answer.clone()), &header, &rows);
}
