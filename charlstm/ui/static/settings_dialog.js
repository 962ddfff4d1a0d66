// The sheet of all settings of a new run: a dialog around Gradio's own fields, with a search and a reset for each field.
(() => {
  const { h, setText, setVisible } = window.charlstm;
  const fieldOf = (name) => document.getElementById(`field-${name}`);
  const inputOf = (block) => block?.querySelector('input:not([type=hidden]), textarea');
  const FLAG = / (--[a-z0-9-]+)$/; // at the end of an explanation; never cut by a line's end
  const keepFlagWhole = (info) => {
    const found = info?.childElementCount === 0 && info.textContent.match(FLAG);
    if (found) info.replaceChildren(info.textContent.replace(FLAG, ' '), h('span', { class: 'flag' }, found[1]));
  };
  const TERMS = { dropout: 'dropout', weight_dropout: 'dropout', learning_rate: 'learning-rate', seed: 'seed', sample_temperature: 'temperature', max_passes: 'pass', val_fraction: 'validation' };
  // Explain a setting by what the form holds, as far as its term goes by settings.
  const explain = (info, name) => {
    if (!info || !(name in TERMS)) return;
    if (!info.querySelector('.info-button')) info.append(' ', window.charlstm.infoButton(TERMS[name]));
    const held = (field) => Number.parseFloat(inputOf(fieldOf(field))?.value), hidden = held('hidden_size');
    const facts = { dropout: { dropout: held(name), hidden }, weight_dropout: { dropout: held(name), weights: 4 * hidden ** 2 }, learning_rate: { rate: held(name) } };
    info.querySelector('.info-button').dataset.facts = JSON.stringify(facts[name] || {});
  };
  const labelOf = (block) => block?.querySelector('[data-testid="block-info"]')?.textContent.trim() || '';

  class Sheet {
    constructor(trigger) {
      this.trigger = trigger;
      this.marks = { fields: {} };
      const column = document.getElementById('settings-sheet');
      this.search = h('input', { type: 'search', placeholder: 'Find a setting', 'aria-label': 'Find a setting', oninput: () => this.filter() });
      this.resetAll = h('button', { type: 'button', onclick: () => { this.isResetting = true; trigger('reset', { name: null }); } }, 'Reset all');
      this.count = h('span', { class: 'sheet-count', role: 'status' });
      this.nothing = h('p', { hidden: true, role: 'status' }, 'No setting is called so.');
      this.dialog = h('dialog', { id: 'sheet-dialog', 'aria-labelledby': 'sheet-title' },
        h('div', { class: 'sheet-head' }, h('h2', { id: 'sheet-title' }, 'All settings'), this.search, this.count, this.resetAll,
          h('button', { type: 'button', class: 'main', onclick: () => this.dialog.close() }, 'Done')), this.nothing);
      column.before(this.dialog);
      this.dialog.append(column);
      document.getElementById('train-form').addEventListener('input', ({ target }) => { // Undo would lose what is entered now
        if (target !== this.search) this.closeUndo?.();
      });
      this.dialog.addEventListener('click', (event) => { if (event.target === this.dialog) this.dialog.close(); });
    }

    // Open it, at one field if `name` is given.
    open(name = '') {
      this.search.value = '';
      this.filter();
      if (!this.dialog.open) this.dialog.showModal();
      const input = name && inputOf(fieldOf(name));
      (input || this.search).focus();
      input?.scrollIntoView({ block: 'center' });
    }

    filter() {
      const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const block of this.dialog.querySelectorAll('[id^="field-"]')) {
        const text = `${block.textContent} ${block.id.slice(6)}`.toLowerCase();
        block.classList.toggle('is-left-out', !words.every((word) => text.includes(word)));
      }
      const groups = [...this.dialog.querySelectorAll('.sheet-group')];
      const hasFields = (group) => Boolean(group.querySelector('[id^="field-"]:not(.is-left-out)'));
      for (const group of groups) group.classList.toggle('is-left-out', !hasFields(group));
      setVisible(this.nothing, !groups.some(hasFields));
    }

    // Write beside each field what its preset says and what is wrong with it.
    mark(marks) {
      this.former = this.marks;
      this.marks = marks;
      const fields = { ...marks.fields, ...(marks.has_parent ? { parent: { preset: 'a new model' } } : {}) };
      for (const block of document.querySelectorAll('[id^="field-"]')) {
        const { preset, problem } = fields[block.id.slice(6)] || {};
        this.markField(block, this.dialog.contains(block) ? preset : undefined, problem); // beside Start there is no room
      }
      const number = Object.values(fields).filter((each) => each.preset !== undefined).length;
      setText(this.count, number ? `${number} changed` : '');
      if (!number && document.activeElement === this.resetAll) this.search.focus(); // a disabled button keeps no focus
      this.resetAll.disabled = !number;
      this.keepUndo(marks, number);
      if (!this.isResetting || !marks.before) return;
      this.isResetting = false;
      const undo = () => this.trigger('reset', { values: marks.before });
      this.closeUndo = window.charlstm.toast('All settings are those of the preset again.', { action: 'Undo', onAction: undo });
    }

    // Offer to undo a reset only while nothing was changed since: a choice from a list fires no input event.
    keepUndo(marks, number) {
      const { reset } = this;
      if (marks.before) this.reset = { preset: marks.preset, stale: JSON.stringify(this.former.fields), isSettled: false };
      else if (reset && !number && marks.preset === reset.preset) reset.isSettled = true;
      else if (reset?.isSettled || (reset && JSON.stringify(marks.fields) !== reset.stale)) { // not an answer from before the reset
        this.closeUndo?.();
        this.reset = null;
      }
    }

    markField(block, preset, problem) {
      const name = block.id.slice(6), isChanged = preset !== undefined, info = block.querySelector('.info-text');
      keepFlagWhole(info);
      explain(info, name);
      block.classList.toggle('is-changed', isChanged);
      block.classList.toggle('is-wrong', Boolean(problem));
      let mark = block.querySelector('.field-mark');
      if (!mark && (isChanged || problem)) {
        mark = h('div', { class: 'field-mark', id: `mark-${name}` }, h('span', { class: 'problem', role: 'alert' }), h('span'),
          h('button', { type: 'button', onclick: () => this.trigger('reset', { name }) }, 'Reset', h('span', { class: 'unseen' })));
        block.append(mark);
      }
      if (!mark) return;
      const [wrong, own, reset] = mark.children;
      if (!isChanged && document.activeElement === reset) inputOf(block)?.focus(); // it is about to be hidden
      setVisible(mark, isChanged || Boolean(problem));
      setText(wrong, problem ? `${problem}.` : '');
      setText(own, isChanged ? `Preset: ${preset}` : '');
      setVisible(reset, isChanged);
      setText(reset.lastChild, ` ${labelOf(block)} to ${preset}`);
      const input = inputOf(block);
      input?.toggleAttribute('aria-invalid', Boolean(problem));
      if (problem) input?.setAttribute('aria-invalid', 'true');
      input?.setAttribute('aria-describedby', mark.id);
    }
  }

  window.charlstm.settingsSheet = (trigger) => new Sheet(trigger);
})();
