from skimage import io


def handler(event): ...
