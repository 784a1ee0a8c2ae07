// The album for programs, newest first. album.py says where photos lie, and what their names tell.

const { readdir, stat } = require('node:fs/promises');
const { join, parse } = require('node:path');

exports.handler = async () => {
  const finished = new Set((await files('thumbnails')).map((name) => parse(name).name));
  const originals = (await files('originals')).sort().reverse();
  return Promise.all(
    originals.map(async (name) => {
      const photo = parse(name).name;
      return {
        photo,
        uploaded: new Date(parseInt(photo.slice(0, 12), 16)).toISOString(),
        bytes: await size(name),
        thumbnail: finished.has(photo) ? `/thumbnails/${photo}` : null,
      };
    }),
  );
};

// Those that are whole: while one is being written, its name begins with a dot.
async function files(kind) {
  try {
    const names = await readdir(join(process.env.FORKLIGHT_DATA, kind));
    return names.filter((name) => !name.startsWith('.'));
  } catch (error) {
    if (error.code === 'ENOENT') return []; // no photo yet
    throw error;
  }
}

async function size(name) {
  try {
    return (await stat(join(process.env.FORKLIGHT_DATA, 'originals', name))).size;
  } catch (error) {
    if (error.code === 'ENOENT') return null; // pruned just now
    throw error;
  }
}
