//! Where words go: stdout carries what was asked for, stderr everything else.
//!
//! The one place that writes to the standard streams. A reader that has gone
//! away (`shopctl status | head -1`) is no error.

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Both standard streams and what is known of them; clones share the streams.
#[derive(Clone)]
pub struct Console {
    out: Stream,
    err: Stream,
}

type Writer = Box<dyn Write + Send>;

#[derive(Clone)]
struct Stream {
    writer: Arc<Mutex<Writer>>,
    terminal: bool,
    color: bool,
}

/// A colour; always beside a word that says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Failures.
    Red,
    /// Success.
    Green,
    /// Warnings.
    Yellow,
    /// Names and hints.
    Cyan,
    /// Headings.
    Bold,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Red => "31;1",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
            Self::Bold => "1",
        }
    }
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    const fn on(self, terminal: bool) -> bool {
        match self {
            Self::Auto => terminal,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl Console {
    /// The streams of this process.
    pub fn process() -> Self {
        use std::io::IsTerminal as _;
        let (out, err) = (io::stdout(), io::stderr());
        let (out_terminal, err_terminal) = (out.is_terminal(), err.is_terminal());
        Self {
            out: Stream::new(Box::new(io::LineWriter::new(out)), out_terminal),
            err: Stream::new(Box::new(err), err_terminal),
        }
    }

    /// Streams of a test: into memory, as if they were (no) terminals.
    pub fn memory(terminal: bool) -> (Self, Captured) {
        let captured = Captured::default();
        let console = Self {
            out: Stream::new(Box::new(captured.out.clone()), terminal),
            err: Stream::new(Box::new(captured.err.clone()), terminal),
        };
        (console, captured)
    }

    /// The same streams with this choice of colour.
    #[must_use]
    pub fn colored(mut self, color: Color) -> Self {
        self.out.color = color.on(self.out.terminal);
        self.err.color = color.on(self.err.terminal);
        self
    }

    /// Whether stdout is a terminal.
    pub fn out_is_terminal(&self) -> bool {
        self.out.terminal
    }

    /// Whether stderr is a terminal.
    pub fn err_is_terminal(&self) -> bool {
        self.err.terminal
    }

    /// Whether stderr is coloured.
    pub fn err_is_colored(&self) -> bool {
        self.err.color
    }

    /// Writes a text to stdout; a newline is added where it lacks one.
    pub fn out(&self, text: &str) -> io::Result<()> {
        self.out.line(text)
    }

    /// Writes a text to stderr; a newline is added where it lacks one.
    pub fn err(&self, text: &str) {
        // There is nowhere left to say that stderr is broken.
        let _ = self.err.line(text);
    }

    /// Writes bytes to stdout as they are.
    pub fn raw_out(&self, bytes: &[u8]) -> io::Result<()> {
        self.out.write(bytes)
    }

    /// Writes bytes to stderr as they are.
    pub fn raw_err(&self, bytes: &[u8]) -> io::Result<()> {
        self.err.write(bytes)
    }

    /// Colours a text for stderr.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        self.err.paint(paint, text)
    }

    /// Colours a text for stdout.
    pub fn paint_out(&self, paint: Paint, text: &str) -> String {
        self.out.paint(paint, text)
    }
}

impl Stream {
    fn new(writer: Writer, terminal: bool) -> Self {
        Self {
            writer: Arc::new(Mutex::new(writer)),
            terminal,
            color: false,
        }
    }

    fn line(&self, text: &str) -> io::Result<()> {
        if text.is_empty() || text.ends_with('\n') {
            self.write(text.as_bytes())
        } else {
            self.write(format!("{text}\n").as_bytes())
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match writer.write_all(bytes).and_then(|()| writer.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{}m{text}\u{1b}[0m", paint.code())
        } else {
            text.to_owned()
        }
    }
}

/// What a test's console was told.
#[derive(Clone, Default)]
pub struct Captured {
    out: Buffer,
    err: Buffer,
}

impl Captured {
    /// Everything on stdout.
    pub fn stdout(&self) -> String {
        self.out.text()
    }

    /// Everything on stderr.
    pub fn stderr(&self) -> String {
        self.err.text()
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
