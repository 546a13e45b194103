//! The terminal: taken over while the inbox runs, and given back however it ends.

use std::io::{self, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{Frame, Terminal};
use tokio::sync::mpsc;

/// Keys that were pressed and not yet looked at.
const KEYS_MAX: usize = 64;
/// How often the reader of keys looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(100);

pub struct Tty {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    keys: mpsc::Receiver<io::Result<Option<KeyEvent>>>,
    is_over: Arc<AtomicBool>,
}

impl Tty {
    pub fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        let (sender, keys) = mpsc::channel(KEYS_MAX);
        let is_over = Arc::new(AtomicBool::new(false));
        // From here on it is given back when this value goes.
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()));
        let tty = terminal.map(|terminal| Self { terminal, keys, is_over: is_over.clone() });
        if tty.is_err() {
            // What went wrong first is what is told.
            let _ = disable_raw_mode();
        }
        let tty = tty?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        // A thread of its own: reading keys blocks. It ends with the terminal's owner.
        std::thread::Builder::new().name("keys".into()).spawn(move || read(&sender, &is_over))?;
        Ok(tty)
    }

    pub fn draw(&mut self, screen: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(screen).map(drop)
    }

    /// The next key; `None`: only the size changed.
    pub async fn key(&mut self) -> io::Result<Option<KeyEvent>> {
        self.keys.recv().await.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // There is nobody left to tell where this fails.
        let _ = disable_raw_mode();
        let _ = execute!(io::stdout(), LeaveAlternateScreen);
        let _ = self.terminal.show_cursor();
    }
}

fn read(keys: &mpsc::Sender<io::Result<Option<KeyEvent>>>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let read = match event::poll(LOOK) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let (sent, is_last) = match read {
            Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => (Ok(Some(key)), false),
            Ok(Event::Resize(..)) => (Ok(None), false),
            Ok(_) => continue,
            Err(error) => (Err(error), true),
        };
        if keys.blocking_send(sent).is_err() || is_last {
            return;
        }
    }
}
