//! The commands that work on the store beside a running gateway, run as the real program.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

/// Makes each test twice: `…::sqlite::name` and `…::postgres::name`.
macro_rules! both {
    ($(fn $name:ident($site:ident) $body:block)*) => {
        mod sqlite {
            use super::*;
            $(#[test]
            fn $name() {
                let $site = Site::sqlite(SETTINGS);
                $body
            })*
        }

        mod postgres {
            use super::*;
            $(#[test]
            fn $name() {
                let $site = Site::postgres(SETTINGS);
                $body
            })*
        }
    };
}

#[path = "command_line/explaining.rs"]
mod explaining;
#[path = "command_line/importing.rs"]
mod importing;
#[path = "command_line/managing.rs"]
mod managing;
#[path = "command_line/site.rs"]
mod site;
