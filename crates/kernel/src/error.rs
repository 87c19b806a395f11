//! What the kernel refuses, in words.

use std::io;

/// A request that the kernel did not carry out, or an answer that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// The kernel refused this one request.
    #[error("{what}: {}{}", errno_text(*.errno), extended(.message))]
    Refused {
        /// What was asked.
        what: String,
        /// The errno.
        errno: i32,
        /// The kernel's own sentence (extended acknowledgement), or empty.
        message: String,
    },
    /// `CAP_NET_ADMIN` is missing.
    #[error(
        "{what}: CAP_NET_ADMIN is missing; run as root, or give the service AmbientCapabilities=CAP_NET_ADMIN \
         CAP_NET_BIND_SERVICE"
    )]
    Permission {
        /// What was asked.
        what: String,
    },
    /// The answer was lost (socket buffer overrun): it may have happened or not.
    #[error("{what}: the kernel's answer was lost; the table is read again")]
    Lost {
        /// What was asked.
        what: String,
    },
    /// The socket itself failed.
    #[error("{what}: {error}")]
    Socket {
        /// What was tried.
        what: String,
        /// The reason.
        error: String,
    },
}

impl KernelError {
    /// From an errno (positive) and the kernel's sentence.
    pub fn refused(what: impl Into<String>, errno: i32, message: impl Into<String>) -> KernelError {
        let what = what.into();
        match errno {
            libc::EPERM | libc::EACCES => KernelError::Permission { what },
            _ => KernelError::Refused { what, errno, message: message.into() },
        }
    }

    pub(crate) fn socket(what: impl Into<String>, error: &io::Error) -> KernelError {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => KernelError::Permission { what: what.into() },
            Some(libc::ENOBUFS | libc::EAGAIN) => KernelError::Lost { what: what.into() },
            _ => KernelError::Socket { what: what.into(), error: error.to_string() },
        }
    }

    /// The errno, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            KernelError::Refused { errno, .. } => Some(*errno),
            KernelError::Permission { .. } => Some(libc::EPERM),
            KernelError::Lost { .. } | KernelError::Socket { .. } => None,
        }
    }

    /// True if the same request may well succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            KernelError::Lost { .. } => true,
            KernelError::Refused { errno, .. } => {
                matches!(*errno, libc::ENOBUFS | libc::EBUSY | libc::EAGAIN | libc::EINTR | libc::ENOMEM)
            }
            KernelError::Permission { .. } | KernelError::Socket { .. } => false,
        }
    }
}

fn errno_text(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string()
}

fn extended(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(", the kernel says: {message}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_capability_names_it_and_the_cure() {
        let e = KernelError::refused("add route 192.0.2.0/24", libc::EPERM, "").to_string();
        assert!(e.contains("CAP_NET_ADMIN") && e.contains("run as root"), "{e}");
        let e = KernelError::refused("add next hop 7", libc::ENETDOWN, "Nexthop device is not up");
        assert_eq!(
            e.to_string(),
            "add next hop 7: Network is down (os error 100), the kernel says: Nexthop device is not up"
        );
        assert!(!e.is_transient() && KernelError::refused("x", libc::ENOBUFS, "").is_transient());
    }
}
