//! The status codes that this server sends.

/// A status code with its reason phrase and, for errors, a sentence for people.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Status {
    /// 200
    Ok,
    /// 204
    NoContent,
    /// 206
    PartialContent,
    /// 301
    MovedPermanently,
    /// 302
    Found,
    /// 303
    SeeOther,
    /// 304
    NotModified,
    /// 307
    TemporaryRedirect,
    /// 308
    PermanentRedirect,
    /// 400
    BadRequest,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 406
    NotAcceptable,
    /// 408
    RequestTimeout,
    /// 412
    PreconditionFailed,
    /// 413
    ContentTooLarge,
    /// 414
    UriTooLong,
    /// 416
    RangeNotSatisfiable,
    /// 417
    ExpectationFailed,
    /// 421
    Misdirected,
    /// 431
    HeadersTooLarge,
    /// 500
    InternalError,
    /// 501
    NotImplemented,
    /// 503
    Unavailable,
    /// 505
    VersionNotSupported,
}

impl Status {
    /// Those that say that something went wrong.
    pub const ERRORS: &[Self] = &[
        Self::BadRequest,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::PreconditionFailed,
        Self::ContentTooLarge,
        Self::UriTooLong,
        Self::RangeNotSatisfiable,
        Self::ExpectationFailed,
        Self::Misdirected,
        Self::HeadersTooLarge,
        Self::InternalError,
        Self::NotImplemented,
        Self::Unavailable,
        Self::VersionNotSupported,
    ];

    /// The error with a code.
    pub fn of_error(code: u16) -> Option<Self> {
        Self::ERRORS.iter().copied().find(|status| status.code() == code)
    }

    /// The code and reason phrase as they stand in a status line.
    pub const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::NoContent => "204 No Content",
            Self::PartialContent => "206 Partial Content",
            Self::MovedPermanently => "301 Moved Permanently",
            Self::Found => "302 Found",
            Self::SeeOther => "303 See Other",
            Self::NotModified => "304 Not Modified",
            Self::TemporaryRedirect => "307 Temporary Redirect",
            Self::PermanentRedirect => "308 Permanent Redirect",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::NotAcceptable => "406 Not Acceptable",
            Self::RequestTimeout => "408 Request Timeout",
            Self::PreconditionFailed => "412 Precondition Failed",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UriTooLong => "414 URI Too Long",
            Self::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::Misdirected => "421 Misdirected Request",
            Self::HeadersTooLarge => "431 Request Header Fields Too Large",
            Self::InternalError => "500 Internal Server Error",
            Self::NotImplemented => "501 Not Implemented",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// The body of a response that has no file behind it. Empty where there is none.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ok | Self::NoContent | Self::PartialContent | Self::NotModified => "",
            Self::MovedPermanently => "301: this is to be found elsewhere for good.\n",
            Self::Found => "302: this is to be found elsewhere for now.\n",
            Self::SeeOther => "303: see elsewhere.\n",
            Self::TemporaryRedirect => "307: this is to be asked elsewhere for now.\n",
            Self::PermanentRedirect => "308: this is to be asked elsewhere for good.\n",
            Self::BadRequest => "400: this request is malformed.\n",
            Self::Forbidden => "403: this file may not be read.\n",
            Self::NotFound => "404: there is no such file.\n",
            Self::MethodNotAllowed => "405: files here can only be read, with GET or HEAD.\n",
            Self::NotAcceptable => "406: there is no coding of this file that is accepted.\n",
            Self::RequestTimeout => "408: the request took too long to arrive.\n",
            Self::PreconditionFailed => "412: the file is not in the state asked for.\n",
            Self::ContentTooLarge => "413: the request has more content than is accepted.\n",
            Self::UriTooLong => "414: the address is too long.\n",
            Self::RangeNotSatisfiable => "416: the range lies outside the file.\n",
            Self::ExpectationFailed => "417: the expectation cannot be met.\n",
            Self::Misdirected => "421: this host, or this scheme, is not served here.\n",
            Self::HeadersTooLarge => "431: the request has too many or too long header fields.\n",
            Self::InternalError => "500: the file could not be read.\n",
            Self::NotImplemented => "501: the method or encoding is unknown here.\n",
            Self::Unavailable => "503: no file can be opened at the moment; try again.\n",
            Self::VersionNotSupported => "505: only HTTP/1.0 and HTTP/1.1 are spoken here.\n",
        }
    }

    /// The numeric code.
    pub const fn code(self) -> u16 {
        let line = self.line().as_bytes();
        let (hundreds, tens, ones) = (line[0] - b'0', line[1] - b'0', line[2] - b'0');
        hundreds as u16 * 100 + tens as u16 * 10 + ones as u16
    }
}
