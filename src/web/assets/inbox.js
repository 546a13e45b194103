// @ts-check
// What makes the inbox quicker; every page shows and decides without it. It says times in the reader's own zone, follows what
// changes, makes sure that all was on screen before an approval, and knows the keyboard. It builds no markup from text.

/** @param {string} selector @param {ParentNode} [within] @returns {HTMLElement[]} */
const all = (selector, within = document) => [...within.querySelectorAll(selector)].filter((one) => one instanceof HTMLElement);

/** @param {string} selector @returns {HTMLElement | null} */
const one = (selector) => all(selector)[0] ?? null;

// --- Times -----------------------------------------------------------------------------------------------------------

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

/** As the server writes spans: `55 s`, `12 min`, `2 h 30 min`, `3 d 4 h`. @param {number} seconds */
function span(seconds) {
  const two = (large, first, small, second) => (small ? `${large} ${first} ${small} ${second}` : `${large} ${first}`);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return two(Math.floor(seconds / 3600), 'h', Math.floor((seconds % 3600) / 60), 'min');
  return two(Math.floor(seconds / 86400), 'd', Math.floor((seconds % 86400) / 3600), 'h');
}

function tellTimes() {
  for (const time of all('time[datetime]')) {
    const moment = new Date(time.getAttribute('datetime') ?? '');
    if (Number.isNaN(moment.getTime())) continue;
    if ('left' in time.dataset) {
      const seconds = Math.floor((moment.getTime() - Date.now()) / 1000);
      time.textContent = seconds > 0 ? span(seconds) : 'no time';
      time.title = clock.format(moment);
    } else if (!time.dataset.local) {
      time.title = time.textContent ?? '';
      time.textContent = clock.format(moment);
      time.dataset.local = 'yes';
    }
  }
}

// --- What was on screen ----------------------------------------------------------------------------------------------

/** Approving waits until the end of what would be approved was on screen, and the id is typed where one must be. */
function watchApproval() {
  const form = one('#approve');
  const button = one('#approve-button');
  const end = one('#payload-end');
  if (!form || !(button instanceof HTMLButtonElement) || !end) return;
  const hint = one('#approve-hint');
  const typed = form.querySelector('#object');
  let seen = false;
  const look = () => {
    const expected = typed instanceof HTMLInputElement ? typed.dataset.expected : undefined;
    const isTyped = expected === undefined || (typed instanceof HTMLInputElement && typed.value.trim() === expected);
    button.disabled = !seen || !isTyped || document.body.classList.contains('offline');
    if (hint) hint.textContent = seen ? '' : 'Look at all parameters first.';
  };
  new IntersectionObserver((entries, observer) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      seen = true;
      observer.disconnect();
      look();
    }
  }).observe(end);
  typed?.addEventListener('input', look);
  addEventListener('connection', look);
  look();
}

/** A click is one vote: what was sent cannot be sent again. */
function sendOnce() {
  for (const form of all('form[data-decision]')) {
    form.addEventListener('submit', (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = 'yes';
    });
  }
  // Back from the next page, the form can be used again.
  addEventListener('pageshow', () => all('form[data-decision]').forEach((form) => delete form.dataset.sent));
}

/** What was written survives a login in between. */
function keepDrafts() {
  const approval = one('[data-approval]')?.dataset.approval;
  for (const field of all('textarea[data-keep]')) {
    if (!(field instanceof HTMLTextAreaElement) || !approval) continue;
    const key = `draft ${approval} ${field.id}`;
    field.value ||= sessionStorage.getItem(key) ?? '';
    field.addEventListener('input', () => sessionStorage.setItem(key, field.value));
    field.form?.addEventListener('submit', () => sessionStorage.removeItem(key));
  }
}

function copyButtons() {
  if (!navigator.clipboard) return;
  for (const button of all('button.copy')) {
    button.hidden = false;
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(button.dataset.copy ?? '');
      button.textContent = 'Copied';
      setTimeout(() => (button.textContent = 'Copy'), 1500);
    });
  }
}

// --- What changes ----------------------------------------------------------------------------------------------------

/** @param {string} text */
function say(text) {
  const line = one('#connection');
  if (!line) return;
  line.textContent = text;
  line.hidden = text === '';
  document.body.classList.toggle('offline', text !== '');
  dispatchEvent(new Event('connection'));
}

/** Takes the parts that are marked as live from the page as it is now, and leaves forms and the focus alone. */
async function refresh() {
  // A page that shows what is masked otherwise is followed as everybody sees it: looking on does not go on record again.
  const followed = one('#revealed') ? location.pathname.replace(/\/reveal$/, '') : location.href;
  const response = await fetch(followed, { headers: { accept: 'text/html' }, redirect: 'manual' });
  if (response.type === 'opaqueredirect' || response.status === 401) return say('Your session has ended. Load the page again to sign in.');
  if (response.status === 404) return say('You may not see this any more.');
  if (!response.ok) throw new Error(String(response.status));
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
  const focused = document.activeElement?.closest('[id]')?.id;
  for (const part of all('[data-live]')) {
    const now = fresh.getElementById(part.id);
    if (now && now.innerHTML !== part.dataset.was) {
      part.dataset.was = now.innerHTML;
      part.replaceChildren(...[...now.childNodes].map((node) => document.adoptNode(node)));
    }
  }
  if (focused && document.activeElement === document.body) {
    document.getElementById(focused)?.querySelector('a')?.focus();
  }
  settle(fresh);
  tellTimes();
  say('');
}

/** Somebody else was faster, or time was: nothing on this page can be decided any more. @param {Document} fresh */
function settle(fresh) {
  const [was, now] = [one('[data-approval]'), fresh.querySelector('[data-approval]')];
  if (!was || !(now instanceof HTMLElement) || was.dataset.state === now.dataset.state) return;
  was.dataset.state = now.dataset.state;
  const [section, settled] = [one('#decide'), fresh.getElementById('decide')];
  if (section && settled) section.replaceChildren(...[...settled.childNodes].map((node) => document.adoptNode(node)));
}

function follow() {
  if (!one('[data-live]') || !one('.leave')) return;
  const events = new EventSource('/events');
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let soon;
  const look = () => {
    clearTimeout(soon);
    soon = setTimeout(() => refresh().catch(() => say('Connection lost. What you see may be out of date.')), 150);
  };
  events.addEventListener('change', look);
  events.addEventListener('open', look);
  events.addEventListener('over', () => {
    events.close();
    look();
  });
  events.addEventListener('error', () => {
    if (navigator.onLine && events.readyState === EventSource.CLOSED) return poll(look);
    say('Connection lost. What you see may be out of date.');
  });
  addEventListener('online', look);
  addEventListener('offline', () => say('You are offline. Nothing can be decided now.'));
  addEventListener('pagehide', () => events.close());
}

/** Where events do not get through, the page is looked at from time to time. @param {() => void} look */
function poll(look) {
  look();
  setInterval(() => document.visibilityState === 'visible' && look(), 15_000);
}

// --- The keyboard ----------------------------------------------------------------------------------------------------

const SHORTCUTS_OFF = 'shortcuts off';

/** @param {number} step */
function move(step) {
  const links = all('.row .open');
  if (!links.length) return;
  const at = links.findIndex((link) => link === document.activeElement);
  const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1)];
  next?.focus();
  next?.scrollIntoView({ block: 'nearest' });
}

/** @param {string} form @param {string} fallback */
function goTo(form, fallback) {
  const field = one(`${form} input:not([type=hidden]), ${form} textarea`) ?? one(fallback);
  field?.focus();
  field?.scrollIntoView({ block: 'center' });
}

/** To the form; but what would be approved is brought on screen first, if its end was not. */
function goToApprove() {
  goTo('#approve', '#login-again');
  if (one('#approve-hint')?.textContent) one('#payload-end')?.scrollIntoView({ block: 'center' });
}

/** @type {Record<string, () => void>} */
const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  a: goToApprove,
  r: () => goTo('#reject', '#decide a'),
  '?': () => /** @type {HTMLDialogElement | null} */ (document.getElementById('shortcuts'))?.showModal(),
};

function keyboard() {
  const toggle = document.getElementById('shortcuts-on');
  const off = () => localStorage.getItem(SHORTCUTS_OFF) === 'yes';
  if (toggle instanceof HTMLInputElement) {
    toggle.checked = !off();
    toggle.addEventListener('change', () => localStorage.setItem(SHORTCUTS_OFF, toggle.checked ? 'no' : 'yes'));
  }
  for (const button of all('[data-shortcuts]')) {
    button.hidden = false;
    button.addEventListener('click', () => KEYS['?']?.());
  }
  addEventListener('keydown', (event) => {
    const isTyping = event.target instanceof HTMLElement && event.target.matches('input, textarea, select, dialog *');
    if (off() || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = Object.hasOwn(KEYS, event.key) ? KEYS[event.key] : undefined;
    if (!act) return;
    event.preventDefault();
    act();
  });
}

tellTimes();
setInterval(tellTimes, 1000);
watchApproval();
sendOnce();
keepDrafts();
copyButtons();
keyboard();
follow();
one('#news')?.focus();
