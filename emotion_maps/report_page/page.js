'use strict';
// The browser of filters: draws what lies in the page's own data blocks. Strings only ever become text, never markup.
(() => {
  const byId = id => document.getElementById(id);
  if (!byId('data')) return;
  const unpacked = new Map();
  let data, state, painting = 0;

  const make = (tag, attributes = {}, ...children) => {
    const node = tag.startsWith('svg:') ? document.createElementNS('http://www.w3.org/2000/svg', tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const words = text => String(text).replaceAll('_', ' ');
  const number = (value, digits = 2) => value === null || value === undefined ? '–' : value.toFixed(digits).replace('-', Number(value.toFixed(digits)) ? '−' : '');
  const signed = (value, digits = 4) => value === null || value === undefined ? '–' : (Number(value.toFixed(digits)) > 0 ? '+' : '') + number(value, digits);
  const percent = value => (100 * value).toFixed(0) + ' %';

  // A block is base64 of gzip of bytes; it is opened when it is first needed.
  const unpack = id => {
    if (!byId(id)) return Promise.resolve(null);
    if (!unpacked.has(id)) unpacked.set(id, (async () => {
      const text = atob(byId(id).textContent), bytes = new Uint8Array(text.length);
      for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
      return new Uint8Array(await new Response(stream).arrayBuffer());
    })());
    return unpacked.get(id);
  };

  // One of many pictures in a block.
  const nth = (bytes, index, size) => bytes.subarray(index * size, (index + 1) * size);

  const paint = (canvas, width, height, colourOf) => {
    canvas.width = width; canvas.height = height;
    const context = canvas.getContext('2d'), image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const [red, green, blue] = colourOf(i);
      image.data.set([red, green, blue, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
  };
  const paintGray = (canvas, width, height, bytes) => paint(canvas, width, height, i => [bytes[i], bytes[i], bytes[i]]);
  const colourIn = (table, value) => {
    const place = 3 * Math.round(255 * Math.min(1, Math.max(0, value)));
    return [table[place], table[place + 1], table[place + 2]];
  };

  // Weights that interpolate cells to pixels, each cell with a flat core, nothing where no cell lies: as activation_maps.stretch_weights.
  const stretch = (cells, pixels, places) => Array.from({length: pixels}, (_, pixel) => {
    const [first, step] = places || [.5 / cells, 1 / cells], width = step * pixels;
    const position = (pixel + .5 - first * pixels) / width, lower = Math.floor(position), core = .5 / width + 1e-6;
    const share = Math.min(1, Math.max(0, (position - lower - core) / Math.max(1 - 2 * core, 1e-6))), inside = cell => Math.min(cells - 1, Math.max(0, cell));
    return [inside(lower), inside(lower + 1), share, Math.abs(position - (cells - 1) / 2) <= cells / 2 + 1e-6];
  });

  // The values of one map with the limits that its colours stand for.
  const mapOf = (layer, face, filter) => {
    const size = layer.height * layer.width, bytes = nth(layer.bytes, face * layer.count + filter, size), high = layer.high[filter];
    const values = Float32Array.from(bytes, layer.signed ? byte => (byte - 128) / 127 * high : byte => byte / 255 * high);
    const top = {filter: high, map: values.reduce((most, value) => Math.max(most, Math.abs(value)), 0), layer: layer.highest}[state.brightest] || 1;
    return {values, top, low: layer.signed ? -top : 0};
  };
  const tableFor = layer => data.tables[layer.signed ? data.signed_colours : state.colours];
  const drawMap = (canvas, layer, face, filter) => {
    const map = mapOf(layer, face, filter), table = tableFor(layer);
    paint(canvas, layer.width, layer.height, i => colourIn(table, (map.values[i] - map.low) / (map.top - map.low)));
    return map;
  };
  const drawOverlay = (layer, map) => {
    const side = data.side, rows = stretch(layer.height, side, layer.places[0]), columns = stretch(layer.width, side, layer.places[1]), table = tableFor(layer), face = nth(data.images, state.face, side * side);
    const at = (row, column) => map.values[row * layer.width + column];
    paint(byId('overlay'), side, side, i => {
      const [up, down, below, tall] = rows[Math.floor(i / side)], [left, right, beside, wide] = columns[i % side];
      const value = !tall || !wide ? 0 : (1 - below) * ((1 - beside) * at(up, left) + beside * at(up, right)) + below * ((1 - beside) * at(down, left) + beside * at(down, right));
      const cover = state.strength * Math.min(1, Math.abs(value) / map.top);
      return colourIn(table, (value - map.low) / (map.top - map.low)).map(part => Math.round(face[i] * (1 - cover) + part * cover));
    });
  };

  // What is known of a filter, from the columns of the atlas.
  const fact = (name, filter = state.filter, layer = state.layer) => data.columns && data.columns[name] ? data.columns[name][data.layers[layer].first + filter] : null;
  const effectOf = filter => fact('effect', filter) === null ? '' : fact('effect_q', filter) >= .05 ? 'unclear' : fact('effect', filter) < 0 ? 'helps' : 'harms';
  const EFFECTS = {helps: 'helps the true emotion', harms: 'harms it', unclear: 'no clear effect'};
  const matches = filter => {
    const region = byId('region').value, emotion = byId('emotion').value, effect = byId('effect').value;
    const own = fact('dead', filter) ? 'dead' : fact('region', filter) || 'none';
    return (!region || own === region) && (!emotion || fact('emotion', filter) === emotion) && (!effect || effectOf(filter) === effect);
  };
  const ORDERS = {
    number: {title: 'number'}, answer: {title: 'answer to this face, strongest first', key: filter => -mapPeak(filter)},
    enrichment: {title: 'enrichment, largest first', key: filter => -(fact('enrichment', filter) ?? -1), needs: 'enrichment'},
    effect: {title: 'effect, largest first', key: filter => -Math.abs(fact('effect', filter) ?? 0), needs: 'effect'},
    auc: {title: 'AUC, farthest from 0.5 first', key: filter => -Math.abs((fact('emotion_auc', filter) ?? .5) - .5), needs: 'emotion_auc'},
  };
  const mapPeak = filter => {
    const layer = data.layers[state.layer], size = layer.height * layer.width;
    return nth(layer.bytes, state.face * layer.count + filter, size).reduce((most, byte) => Math.max(most, layer.signed ? Math.abs(byte - 128) * 2 : byte), 0) * layer.high[filter];
  };

  // The list of filters that match the menus.
  const relist = () => {
    const layer = data.layers[state.layer], key = ORDERS[byId('order').value].key;
    state.list = Array.from({length: layer.count}, (_, filter) => filter).filter(matches);
    if (key) { const keys = state.list.map(key); state.list = state.list.map((filter, i) => [keys[i], filter]).sort((one, other) => one[0] - other[0] || one[1] - other[1]).map(pair => pair[1]); }
    byId('count').textContent = `${state.list.length} of ${layer.count} filters of ${layer.name}` + (state.list.length ? '' : ': choose less in the menus above');
    byId('list').replaceChildren(...state.list.map(filter => {
      const about = [fact('dead', filter) ? 'dead' : words(fact('region', filter) || ''), EFFECTS[effectOf(filter)] || ''].filter(Boolean).join(', ');
      const button = make('button', {type: 'button', 'data-filter': filter, 'aria-label': `Filter ${filter}${about ? ': ' + about : ''}`, tabindex: -1}, make('canvas', {width: 1, height: 1}), String(filter));
      button.title = about;
      return button;
    }));
    if (!state.list.includes(state.filter) && state.list.length) state.filter = state.list[0];
    byId('filter').max = Math.max(0, state.list.length - 1);
    for (const id of ['filter', 'previous', 'next']) byId(id).disabled = !state.list.length;
    thumbnails();
  };
  const thumbnails = () => {
    const turn = ++painting, buttons = [...byId('list').children];
    const some = first => {
      if (turn !== painting) return;
      for (const button of buttons.slice(first, first + 64)) drawMap(button.firstChild, data.layers[state.layer], state.face, Number(button.dataset.filter));
      if (first + 64 < buttons.length) setTimeout(some, 0, first + 64);
    };
    some(0);
  };

  const showFace = () => {
    const face = data.faces[state.face], side = data.side;
    paintGray(byId('face'), side, side, nth(data.images, state.face, side * side));
    byId('face').setAttribute('aria-label', `The face ${face.name}`);
    byId('face-words').textContent = face.name;
    [...byId('faces').children].forEach((button, i) => button.setAttribute('aria-pressed', i === state.face));
    byId('answers').replaceChildren(bars('What the network says' + (data.emotions.includes(face.label) ? ' (bold: the true emotion)' : ''), face.answer.map((value, i) => ({name: data.emotions[i], value, text: percent(value), told: data.emotions[i] === face.label})), 0, 0, 1));
  };

  const showFilter = () => {
    const layer = data.layers[state.layer], map = drawMap(byId('map'), layer, state.face, state.filter), place = state.list.indexOf(state.filter), peak = map.values.reduce((most, value) => Math.max(most, value), 0);
    drawOverlay(layer, map);
    paint(byId('scale'), 256, 1, i => colourIn(tableFor(layer), i / 255));
    byId('map').setAttribute('aria-label', `The map of filter ${state.filter} of ${layer.name} on this face, at most ${number(peak, 3)}`);
    byId('overlay').setAttribute('aria-label', `The same map over the face`);
    byId('map-words').textContent = `${layer.name}, filter ${state.filter}: ${layer.height} × ${layer.width} cells, colours from ${number(map.low, 2)} to ${number(map.top, 2)}`;
    byId('where').textContent = `Filter ${state.filter}` + (place >= 0 ? `, ${place + 1} of ${state.list.length} in the list` : '');
    byId('filter').value = Math.max(0, place);
    byId('filter').setAttribute('aria-valuetext', `Filter ${state.filter}`);
    byId('strength-value').textContent = percent(state.strength);
    for (const button of byId('list').children) {
      const chosen = Number(button.dataset.filter) === state.filter;
      button.setAttribute('aria-pressed', chosen);
      button.tabIndex = chosen ? 0 : -1;
      if (chosen) { const list = byId('list'), top = button.offsetTop - list.offsetTop; if (top < list.scrollTop || top + button.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 2; }
    }
  };

  // Bars in a table: a name, a bar with its interval, the value in words.
  const bars = (title, rows, from, zero, to, losses = false) => {  // of losses the negative ones are blue: without the filter something is missing
    const x = value => 100 * (Math.min(to, Math.max(from, value)) - from) / (to - from), table = make('table', {class: 'bars'}, make('caption', {}, make('b', {}, title)));
    const body = make('tbody');
    for (const row of rows) {
      const known = row.value !== null && row.value !== undefined, picture = make('svg:svg', {viewBox: '0 0 100 16', preserveAspectRatio: 'none', 'aria-hidden': 'true'});
      if (known) picture.append(make('svg:rect', {x: x(Math.min(row.value, zero)), y: 3, width: Math.abs(x(row.value) - x(zero)), height: 10, class: 'fill' + ((losses ? row.value > zero : row.value < zero) ? ' minus' : '')}));
      if (known && row.low !== undefined && row.low !== null) picture.append(make('svg:path', {d: `M${x(row.low)} 8H${x(row.high)}`, class: 'span', 'vector-effect': 'non-scaling-stroke'}));
      picture.append(make('svg:path', {d: `M${x(zero)} 0V16`, class: 'axis', 'vector-effect': 'non-scaling-stroke'}));
      body.append(make('tr', row.told ? {class: 'told'} : {}, make('th', {scope: 'row'}, words(row.name)), make('td', {}, picture), make('td', {}, row.text)));
    }
    table.append(body);
    return table;
  };

  const sentence = () => {
    if (!data.columns) return 'There is no atlas of this network yet, so nothing more is known of this filter.';
    if (fact('dead')) return 'A dead filter: it answered to none of the faces.';
    const region = fact('region'), parts = [];
    parts.push(region ? `It ${fact('where')}: ${number(fact('enrichment'))} times more of its activation lies there than the area explains.` : `It ${fact('where')}.`);
    if (fact('emotion')) parts.push(`It answers ${fact('emotion_auc') >= .5 ? 'more' : 'less'} to ${fact('emotion')} than to the others (AUC ${number(fact("emotion_auc"))}).`);
    if (fact('effect') !== null) parts.push(`Without it, the log-probability of the true emotion changes by ${signed(fact('effect'))} (95 % interval ${signed(fact('effect_low'))} to ${signed(fact('effect_high'))}): it ${{helps: 'helps', harms: 'harms', unclear: 'has no clear effect'}[effectOf(state.filter)]}.`);
    if (fact('optimised_ratio') !== null) parts.push(`Its optimised image excites it ${number(fact('optimised_ratio'), 1)} times as much as any face did.`);
    return parts.join(' ');
  };

  const picture = (caption, width, height, bytes, wide) => {
    const canvas = make('canvas', {role: 'img', 'aria-label': caption});
    paintGray(canvas, width, height, bytes);
    return make('figure', wide ? {class: 'wide'} : {}, canvas, make('figcaption', {}, caption));
  };
  const mosaic = (bytes, count, height, width) => {
    const columns = Math.ceil(Math.sqrt(count)), rows = Math.ceil(count / columns), across = columns * (width + 1) - 1, all = new Uint8Array(across * (rows * (height + 1) - 1)).fill(160);
    for (let n = 0; n < count; n++) for (let y = 0; y < height; y++)
      all.set(bytes.subarray((n * height + y) * width, (n * height + y + 1) * width), (Math.floor(n / columns) * (height + 1) + y) * across + (n % columns) * (width + 1));
    return [across, rows * (height + 1) - 1, all];
  };

  const showCard = async () => {
    const {layer: chosen, filter} = state, layer = data.layers[chosen];
    byId('card-title').textContent = `${layer.name}, filter ${filter}`;
    byId('card-words').textContent = sentence();
    const kin = byId('card-kin'), near = fact('kin');
    kin.replaceChildren();
    if (near !== null && !fact('dead')) {
      const button = make('button', {type: 'button'}, `filter ${near}`);
      button.addEventListener('click', () => { clearMenus(); pick(near); });
      kin.append('Closest kin: ', button, ` (correlation ${number(fact('kin_correlation'))}${fact('duplicate') ? ', a duplicate' : ''}).`);
      if (fact('effect_with_twin') !== null) kin.append(` Without both: ${signed(fact('effect_with_twin'))}.`);
    }
    const [best, patch, mean, favourites] = await Promise.all(['best', 'patch', 'mean', 'favourites'].map(kind => unpack(`${kind}-${chosen}`)));
    if (state.layer !== chosen || state.filter !== filter) return;
    const pictures = [], [tall, wide] = layer.window;
    if (best) pictures.push(picture('what excites it most', layer.best[1], layer.best[0], nth(best, filter, layer.best[0] * layer.best[1])));
    if (patch && layer.patches[filter]) pictures.push(picture(`average of its favourite places, ${tall} × ${wide} pixels`, wide, tall, nth(patch, filter, tall * wide)));
    if (mean) {
      const canvas = make('canvas', {role: 'img', 'aria-label': 'its mean map over all faces'}), bytes = nth(mean, filter, layer.height * layer.width), table = data.tables[state.colours];
      paint(canvas, layer.width, layer.height, i => colourIn(table, bytes[i] / 255));
      pictures.push(make('figure', {}, canvas, make('figcaption', {}, 'its mean map over all faces')));
    }
    if (favourites) pictures.push(picture(`its ${data.favourites} favourite places`, ...mosaic(nth(favourites, filter, data.favourites * tall * wide), data.favourites, tall, wide), true));
    byId('card-pictures').replaceChildren(...pictures);
    byId('card-bars').replaceChildren(...cardBars());
  };
  const cardBars = () => {
    if (!data.columns || fact('dead')) return [];
    const enrichment = data.parts.map(part => ({name: part, value: fact('enrichment_' + part), text: number(fact('enrichment_' + part)), told: part === fact('region')}));
    const told = data.emotions.map(emotion => ({name: emotion, value: fact('auc_' + emotion), text: number(fact('auc_' + emotion)), told: emotion === fact('emotion')}));
    const tables = [bars('Enrichment: activation over area', enrichment, 0, 1, Math.max(2, ...enrichment.map(row => row.value || 0))), bars('AUC: each emotion against the rest', told, 0, .5, 1)];
    if (data.measured) {
      const rows = [['all emotions', 'effect'], ...data.emotions.map(emotion => [emotion, 'effect_' + emotion])].map(([name, column]) => ({name, value: fact(column), low: fact(column + '_low'), high: fact(column + '_high'), text: signed(fact(column))}));
      const most = Math.max(1e-4, ...rows.flatMap(row => [row.low, row.high, row.value].map(value => Math.abs(value || 0))));
      tables.push(bars('Change of log-probability without it (blue: it helps)', rows, -most, 0, most, true));
    }
    return tables;
  };

  const show = () => { showFilter(); return showCard(); };
  const pick = filter => { state.filter = filter; return show(); };
  const step = by => state.list.length && pick(state.list[(Math.max(0, state.list.indexOf(state.filter)) + by + state.list.length) % state.list.length]);
  const clearMenus = () => { for (const id of ['region', 'emotion', 'effect']) byId(id).value = ''; relist(); };
  const openLayer = async (number, filter = 0) => {
    const layer = data.layers[number];
    layer.bytes ??= await unpack(`maps-${number}`);
    Object.assign(state, {layer: number, filter});
    [...byId('layers').children].forEach((button, i) => button.setAttribute('aria-pressed', i === number));
    relist();
    return show();
  };

  const options = (id, pairs) => byId(id).replaceChildren(...pairs.map(([value, text]) => make('option', {value}, text)));
  const on = (id, event, handler) => byId(id).addEventListener(event, handler);
  const fillControls = () => {
    options('region', [['', 'any'], ...data.parts.map(part => [part, words(part)]), ['none', 'no region'], ['dead', 'dead filters']]);
    options('emotion', [['', 'any'], ...data.emotions.map(emotion => [emotion, words(emotion)])]);
    options('effect', [['', 'any'], ...Object.entries(EFFECTS)]);
    options('order', Object.entries(ORDERS).filter(([, order]) => !order.needs || data.columns && data.columns[order.needs]).map(([key, order]) => [key, order.title]));
    options('colours', data.colours.map(name => [name, name]));
    options('brightest', [['filter', 'the filter’s maximum over these faces'], ['map', 'this map’s maximum'], ['layer', 'the layer’s maximum']]);
    byId('layers').replaceChildren(...data.layers.map((layer, i) => { const button = make('button', {type: 'button'}, layer.name); button.addEventListener('click', () => openLayer(i)); return button; }));
    byId('faces').replaceChildren(...data.faces.map((face, i) => {
      const canvas = make('canvas', {'aria-hidden': 'true'}), button = make('button', {type: 'button', class: 'face'}, canvas, face.short);
      paintGray(canvas, data.side, data.side, nth(data.images, i, data.side * data.side));
      button.addEventListener('click', () => { state.face = i; showFace(); relist(); showFilter(); });
      return button;
    }));
  };
  const listen = () => {
    for (const id of ['region', 'emotion', 'effect', 'order']) on(id, 'change', () => { relist(); if (state.list.length) show(); });
    on('filter', 'input', () => pick(state.list[Number(byId('filter').value)]));
    on('previous', 'click', () => step(-1));
    on('next', 'click', () => step(1));
    on('strength', 'input', () => { state.strength = Number(byId('strength').value); showFilter(); });
    for (const id of ['colours', 'brightest']) on(id, 'change', () => { state[id] = byId(id).value; thumbnails(); show(); });
    on('list', 'click', event => { const button = event.target.closest('button'); if (button) pick(Number(button.dataset.filter)); });
    on('list', 'keydown', event => {
      const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (!by) return;
      event.preventDefault();
      step(by);
      const button = byId('list').querySelector('[aria-pressed="true"]');
      if (button) button.focus();
    });
    for (const link of document.querySelectorAll('a[data-layer]')) link.addEventListener('click', () => {
      const number = data.layers.findIndex(layer => layer.name === link.dataset.layer);
      if (number >= 0) { for (const id of ['region', 'emotion', 'effect']) byId(id).value = ''; openLayer(number, Number(link.dataset.filter)); }
    });
  };

  const start = async () => {
    try {
      data = JSON.parse(byId('data').textContent);
      data.images = await unpack('images');
      for (const name of Object.keys(data.tables)) data.tables[name] = Uint8Array.from(atob(data.tables[name]), letter => letter.charCodeAt(0));
      state = {layer: 0, face: data.first.face, filter: data.first.filter, strength: .7, colours: data.colours[0], brightest: 'filter', list: []};
      fillControls();
      for (const id of ['controls', 'stage', 'look', 'card']) byId(id).hidden = false;
      showFace();
      await openLayer(data.first.layer, data.first.filter);
      listen();
      document.documentElement.dataset.ready = 'true';
    } catch (error) {
      byId('trouble').hidden = false;
      byId('trouble').textContent = `This browser cannot open the filters (${error.message}). A current Firefox, Chrome, Edge or Safari can.`;
    }
  };
  requestAnimationFrame(() => setTimeout(start, 0));  // after the first paint
})();
