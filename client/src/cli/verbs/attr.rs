//! `raftshare attr`: reads and changes the attributes of one name.

use clap::{Args, Subcommand};
use raft_store::types::{AttributeKey, AttributeValue, Attributes, FileName};

use super::txn;
use crate::cli::Session;
use crate::cli::attributes::{integer, key, look_up, value};
use crate::cli::values::file_name;
use crate::contract::{TxnAdd, TxnName, TxnOperation, TxnSet, TxnUnset};
use crate::terminal::{Exit, Failure};

/// Read or change the attributes of a file or record.
#[derive(Debug, Clone, Args)]
pub struct Attr {
    /// What to do.
    #[command(subcommand)]
    pub command: AttrCommand,
}

/// The commands about attributes.
#[derive(Debug, Clone, Subcommand)]
pub enum AttrCommand {
    /// Print all attributes, or the value of one.
    Get {
        /// The file or record.
        #[arg(value_parser = file_name)]
        name: FileName,
        /// The attribute.
        #[arg(value_parser = key)]
        key: Option<AttributeKey>,
    },
    /// Set an attribute. A name that does not exist becomes a record.
    Set {
        /// The file or record.
        #[arg(value_parser = file_name)]
        name: FileName,
        /// The attribute.
        #[arg(value_parser = key)]
        key: AttributeKey,
        /// A whole number, or a text; in double quotes any text is a text.
        #[arg(value_parser = value, allow_hyphen_values = true)]
        value: AttributeValue,
    },
    /// Add to an integer; a missing attribute counts from 0.
    Add {
        /// The file or record.
        #[arg(value_parser = file_name)]
        name: FileName,
        /// The attribute.
        #[arg(value_parser = key)]
        key: AttributeKey,
        /// What to add.
        #[arg(value_parser = integer, allow_hyphen_values = true)]
        by: i64,
        /// Refuse a sum that is less.
        #[arg(long, value_name = "N", value_parser = integer, allow_hyphen_values = true)]
        min: Option<i64>,
        /// Refuse a sum that is greater.
        #[arg(long, value_name = "N", value_parser = integer, allow_hyphen_values = true)]
        max: Option<i64>,
    },
    /// Remove attributes. A record ends with its last one.
    Unset {
        /// The file or record.
        #[arg(value_parser = file_name)]
        name: FileName,
        /// The attributes.
        #[arg(required = true, value_parser = key)]
        keys: Vec<AttributeKey>,
    },
}

impl Attr {
    /// Runs the command. A change prints all attributes after it.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let (name, changes) = match self.command.clone() {
            AttrCommand::Get { name, key } => return get(session, &name, key.as_ref()).await,
            AttrCommand::Set { name, key: attr, value } => {
                (name.clone(), vec![TxnOperation::Set(TxnSet { name, attr, value, lease_token: None })])
            }
            AttrCommand::Add { name, key: attr, by, min, max } => {
                if min.zip(max).is_some_and(|(min, max)| min > max) {
                    return Err(Failure::new(Exit::Usage, "--min is greater than --max"));
                }
                (name.clone(), vec![TxnOperation::Add(TxnAdd { name, attr, by, min, max, lease_token: None })])
            }
            AttrCommand::Unset { name, keys } => {
                let unset = |attr| TxnOperation::Unset(TxnUnset { name: name.clone(), attr, lease_token: None });
                (name.clone(), keys.into_iter().map(unset).collect())
            }
        };
        let answer = txn::send(session, None, Vec::new(), changes, Vec::new()).await?;
        let after = answer.names.into_iter().find(|touched| touched.name == name);
        print(session, &after.unwrap_or(TxnName { name, version: None, attributes: Attributes::new() }));
        Ok(())
    }
}

async fn get(session: &Session, name: &FileName, key: Option<&AttributeKey>) -> Result<(), Failure> {
    let answer = look_up(session, name).await?;
    session.output.freshness(&answer.freshness);
    let attributes = answer.value.attributes;
    let Some(key) = key else {
        print(session, &TxnName { name: name.clone(), version: answer.value.version, attributes });
        return Ok(());
    };
    let value = attributes.get(key.as_str()).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("{name} has no attribute {key}"))
            .hint(format!("see all:  raftshare attr get '{name}'"))
    })?;
    session.output.sentence(value, &plain(value));
    Ok(())
}

/// A value alone is printed without quotes, so that scripts can use it.
fn plain(value: &AttributeValue) -> String {
    value.as_text().map_or_else(|| value.to_string(), str::to_owned)
}

fn print(session: &Session, name: &TxnName) {
    let rows: Vec<_> = name.attributes.iter().map(|(key, value)| vec![key.to_string(), plain(value)]).collect();
    session.output.result(name, &["ATTRIBUTE", "VALUE"], &rows);
}
