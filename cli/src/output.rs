//! A daemon's message on standard output: a table for people or JSON, both from the message itself.
//!
//! Rows are printed as they come. A table takes its column widths from its first rows and keeps them, so a full routing
//! table passes through without being held; JSON is an array written element by element.

use crate::args::{Color, Format};
use crate::failure::Failure;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};

/// Rows that decide the column widths.
const MEASURED: usize = 200;

/// What a cell says beside its text. Never the only bearer of a meaning.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Somebody should look.
    Bad,
    /// The one that counts.
    Strong,
}

/// One cell.
#[derive(Default, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// With a tone.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Cell {
        Cell { text: text.into(), tone }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Cell {
        Cell { text: value.to_string(), tone: Tone::Plain }
    }
}

/// A message that is a row of a table.
pub(crate) trait Row: Serialize {
    /// The columns' names.
    const COLUMNS: &'static [&'static str];
    /// As many cells as columns.
    fn cells(&self) -> Vec<Cell>;
}

/// A message that is a whole answer.
pub(crate) trait Render: Serialize {
    /// For people.
    fn render(&self, page: &mut Page<'_>) -> std::io::Result<()>;
}

/// Standard output.
pub(crate) struct Output {
    format: Format,
    colour: bool,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new(format: Format, color: Color) -> Output {
        let stdout = std::io::stdout();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let colour = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stdout.is_terminal() && !unwanted,
        };
        Output { format, colour, out: BufWriter::new(stdout.lock()) }
    }

    /// True for JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One answer.
    pub(crate) fn one<T: Render>(&mut self, answer: &T) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut self.out, answer).map_err(std::io::Error::from)?;
                self.out.write_all(b"\n")?;
            }
            Format::Table => answer.render(&mut Page { out: &mut self.out, colour: self.colour })?,
        }
        Ok(())
    }

    /// Rows that are all there.
    pub(crate) fn rows<R: Row>(&mut self, rows: &[R]) -> Result<(), Failure> {
        let mut stream = self.stream();
        for row in rows {
            stream.push(row)?;
        }
        stream.end()?;
        Ok(())
    }

    /// Rows that come.
    pub(crate) fn stream<R: Row>(&mut self) -> Stream<'_, R> {
        Stream { output: self, waiting: vec![], widths: None, count: 0, row: std::marker::PhantomData }
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes)?;
        self.finish()
    }

    /// Everything is out, or the error is known.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

/// Rows on their way out.
pub(crate) struct Stream<'a, R> {
    output: &'a mut Output,
    waiting: Vec<Vec<Cell>>,
    widths: Option<Vec<usize>>,
    count: u64,
    row: std::marker::PhantomData<R>,
}

impl<R: Row> Stream<'_, R> {
    /// One more row.
    pub(crate) fn push(&mut self, row: &R) -> std::io::Result<()> {
        self.count += 1;
        if self.output.format == Format::Json {
            self.output.out.write_all(if self.count == 1 { b"[\n  " } else { b",\n  " })?;
            return Ok(serde_json::to_writer(&mut self.output.out, row)?);
        }
        let cells = row.cells();
        if let Some(widths) = &self.widths {
            return line(&mut self.output.out, self.output.colour, &cells, widths);
        }
        self.waiting.push(cells);
        if self.waiting.len() >= MEASURED { self.measured() } else { Ok(()) }
    }

    /// That was the last; says how many there were.
    pub(crate) fn end(mut self) -> std::io::Result<u64> {
        if self.output.format == Format::Json {
            self.output.out.write_all(if self.count == 0 { b"[]\n" } else { b"\n]\n" })?;
        } else if self.widths.is_none() && self.count > 0 {
            self.measured()?;
        }
        Ok(self.count)
    }

    fn measured(&mut self) -> std::io::Result<()> {
        let widths = table(&mut self.output.out, self.output.colour, R::COLUMNS, &std::mem::take(&mut self.waiting))?;
        self.widths = Some(widths);
        Ok(())
    }
}

/// A place to write an answer for people.
pub(crate) struct Page<'a> {
    out: &'a mut dyn Write,
    colour: bool,
}

impl Page<'_> {
    /// A line of text.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> std::io::Result<()> {
        writeln!(self.out, "{}", text.as_ref())
    }

    /// `name  value` lines, values aligned; empty values are left out.
    pub(crate) fn fields(&mut self, fields: Vec<(&str, Cell)>) -> std::io::Result<()> {
        let fields: Vec<_> = fields.into_iter().filter(|(_, c)| !c.text.is_empty()).collect();
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, cell) in fields {
            line(self.out, self.colour, &[Cell::from(name), cell], &[width, 0])?;
        }
        Ok(())
    }

    /// A table of rows that are all there.
    pub(crate) fn table<R: Row>(&mut self, rows: &[R]) -> std::io::Result<()> {
        let cells: Vec<_> = rows.iter().map(Row::cells).collect();
        table(self.out, self.colour, R::COLUMNS, &cells).map(drop)
    }
}

fn table(out: &mut dyn Write, colour: bool, columns: &[&str], rows: &[Vec<Cell>]) -> std::io::Result<Vec<usize>> {
    let header: Vec<Cell> = columns.iter().map(|c| Cell::toned(*c, Tone::Strong)).collect();
    let mut widths = vec![0; columns.len()];
    for row in std::iter::once(&header).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    line(out, colour, &header, &widths)?;
    for row in rows {
        line(out, colour, row, &widths)?;
    }
    Ok(widths)
}

fn line(out: &mut dyn Write, colour: bool, cells: &[Cell], widths: &[usize]) -> std::io::Result<()> {
    let last = cells.iter().rposition(|c| !c.text.is_empty());
    for (i, cell) in cells.iter().enumerate().take(last.map_or(0, |l| l + 1)) {
        let style = if colour { style(cell.tone) } else { Style::new() };
        let pad = match widths.get(i) {
            // Nothing behind the last cell: no spaces to copy.
            Some(width) if Some(i) != last => width.saturating_sub(cell.text.chars().count()) + 2,
            _ => 0,
        };
        // A daemon's text is data: nothing in it may move the cursor of whoever reads.
        let text: String = cell.text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        write!(out, "{style}{text}{style:#}{:pad$}", "")?;
    }
    writeln!(out)
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
        Tone::Strong => Style::new().bold(),
    }
}

/// `3d04h`, `2h05m`, `42s`.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
