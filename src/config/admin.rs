//! Who may see and end the sessions of others: the table `[admin]`.

use std::sync::Arc;

use super::reader::{Table, list, text};
use crate::session::{Role, UserId};

/// The administrators, by name and by role.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// Users with every permission, protected like those with a role of `logout_all`.
    pub users: Arc<[UserId]>,
    /// Roles that may look.
    pub view: Vec<Role>,
    /// Roles that may also end, suspend and reactivate sessions and change users, but for protected ones.
    pub logout: Vec<Role>,
    /// Roles that may do so to everybody, and whose holders are protected.
    pub logout_all: Arc<[Role]>,
}

/// What an administrator may do. Each one contains those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Looking.
    View,
    /// Ending, suspending, reactivating and changing, but for protected users.
    Logout,
    /// The same for everybody.
    LogoutAll,
}

impl Permission {
    /// The name that the settings know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Logout => "logout",
            Self::LogoutAll => "logout_all",
        }
    }
}

impl Admin {
    /// The most that a user may do whose session has the roles that `has_role` knows.
    pub fn permission(&self, user: &str, has_role: impl Fn(&str) -> bool) -> Option<Permission> {
        let any = |roles: &[Role]| roles.iter().any(|role| has_role(role.as_str()));
        if any(&self.logout_all) || self.users.iter().any(|named| named.as_str() == user) {
            Some(Permission::LogoutAll)
        } else if any(&self.logout) {
            Some(Permission::Logout)
        } else {
            any(&self.view).then_some(Permission::View)
        }
    }
}

pub(super) fn read(mut table: Table) -> Admin {
    let users = table.get("users", Vec::new(), |value| {
        list(value, |user| {
            let user = text(user)?;
            UserId::parse(&user).map_err(|why| format!("\"{user}\" {why}"))
        })
    });
    let view = roles(&mut table, "view");
    let logout = roles(&mut table, "logout");
    let logout_all = roles(&mut table, "logout_all");
    Admin { users: users.into(), view, logout, logout_all: logout_all.into() }
}

fn roles(table: &mut Table, key: &'static str) -> Vec<Role> {
    table.get(key, Vec::new(), |value| {
        list(value, |role| {
            let role = text(role)?;
            Role::parse(&role).map_err(|why| format!("the role \"{role}\" {why}"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_several_permissions_counts() {
        let role = |name: &str| Role::parse(name).unwrap();
        let admin = Admin {
            users: [UserId::parse("root").unwrap()].into(),
            view: vec![role("auditor")],
            logout: vec![role("staff")],
            logout_all: [role("superuser")].into(),
        };
        let of = |user: &str, roles: &[&str]| admin.permission(user, |role| roles.contains(&role));
        assert_eq!(of("ann", &[]), None);
        assert_eq!(of("ann", &["other"]), None);
        assert_eq!(of("ann", &["auditor"]), Some(Permission::View));
        assert_eq!(of("ann", &["auditor", "staff"]), Some(Permission::Logout));
        assert_eq!(of("ann", &["staff", "superuser"]), Some(Permission::LogoutAll));
        assert_eq!(of("root", &[]), Some(Permission::LogoutAll));
        assert_eq!(Admin::default().permission("", |_| true), None);
    }
}
