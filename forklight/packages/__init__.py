"""Packages: an application, or code from elsewhere, as one immutable zip that is named by its SHA-256.

- `package.py`: makes the package of an application's folder; the same files make the same package
- `store.py`: keeps packages in the state directory, takes uploads in pieces, unpacks
- `source.py`: a zip at an address; `pull.py`: brings it into the store
"""
